/// `trident serve`: loads the models of a folder, listens, and computes on this thread until a signal asks for the end.
#include <malloc.h>
#include <pthread.h>

#include <chrono>
#include <condition_variable>
#include <csignal>
#include <iostream>
#include <mutex>
#include <optional>
#include <stop_token>
#include <thread>

#include "launch/commands.h"
#include "parallel/session.h"
#include "rpc/engine.h"
#include "rpc/metrics.h"
#include "rpc/model_repository.h"
#include "rpc/server.h"
#include "runtime/config.h"

namespace trident {
namespace {

struct ServeOptions {
  std::string repository;
  std::string grpc_address = "127.0.0.1:8001";
  std::optional<std::string> metrics_address;
  std::int64_t max_queue = QueueLimits{}.requests;
  double drain_seconds = 30.0;
};

/// SIGTERM and SIGINT as something to wait for.
class EndSignals {
 public:
  /// Holds the signals back, in this thread and those that it starts from now on.
  EndSignals() {
    sigemptyset(&set_);
    sigaddset(&set_, SIGTERM);
    sigaddset(&set_, SIGINT);
    pthread_sigmask(SIG_BLOCK, &set_, nullptr);
  }

  /// The first one; null if it is over before one arrives.
  const char* wait(const std::stop_token& over) const {
    const timespec tenth{.tv_sec = 0, .tv_nsec = 100'000'000};
    int signal = -1;
    while (signal < 0 && !over.stop_requested()) signal = sigtimedwait(&set_, nullptr, &tenth);
    return signal == SIGTERM ? "SIGTERM" : signal == SIGINT ? "SIGINT" : nullptr;
  }

  /// Lets this thread take the next one, which ends the process at once, until `over`. Some thread must: the others hold it back.
  void let_end(const std::stop_token& over) const {
    std::mutex mutex;
    std::condition_variable_any waiting;
    pthread_sigmask(SIG_UNBLOCK, &set_, nullptr);
    std::unique_lock lock(mutex);
    waiting.wait(lock, over, [] { return false; });
  }

 private:
  sigset_t set_;
};

/// Messages of megabytes would be mapped and unmapped for every request, which takes longer than moving their bytes.
void keep_large_blocks() {
  mallopt(M_MMAP_THRESHOLD, 32 << 20);   // bytes; the most that the C library takes
  mallopt(M_TRIM_THRESHOLD, 256 << 20);  // bytes
}

void check(const ServeOptions& options, const CommandContext& context) {
  if (!(options.drain_seconds >= 0.0 && options.drain_seconds <= 1e6)) {
    throw ConfigError(concat("drain-seconds: got ", options.drain_seconds, "; expected 0 to 1000000"));
  }
  if (context.common.precision == Precision::bf16) throw ConfigError("precision: bf16 is not served on a CPU; take f32 or f64");
  if (const int ranks = context.session.world()->size(); ranks > 1) {
    throw ConfigError(concat("serve: started on ", ranks, " ranks; it is one process, so start it without a launcher or with -n 1"));
  }
}

void announce(const Engine& engine, const Server& server, const std::optional<MetricsServer>& metrics, const CommandContext& context) {
  std::string names;
  ConfigValue list = ConfigValue::list();
  for (const ServedModel& model : engine.models()) {
    names += (names.empty() ? "" : ", ") + model.description.name;
    list.append(model.description.name);
  }
  std::cerr << concat("trident serve: ready at ", server.address(), metrics ? ", metrics at http://" + metrics->address() + "/metrics" : "",
                      ", models: ", names, " (", context.threads, ")\n")
            << std::flush;
  if (!context.common.json) return;
  ConfigValue ready = ConfigValue::map({{"grpc_address", server.address()}, {"models", std::move(list)}});
  if (metrics) ready.set("metrics_address", metrics->address());
  std::cout << to_json(ready) << std::endl;
}

void serve(const ServeOptions& options, const CommandContext& context) {
  check(options, context);
  const EndSignals signals;
  keep_large_blocks();
  const DType precision = dtype_of_precision(context.common.precision.value_or(Precision::f32));
  Engine engine(load_repository(options.repository, precision), {.requests = options.max_queue});
  Server server(engine, options.grpc_address);
  std::optional<MetricsServer> metrics;
  if (options.metrics_address) metrics.emplace(engine, *options.metrics_address);

  // Readiness goes first, so that clients turn to other servers while what was accepted is still computed.
  const std::chrono::duration<double> drain(options.drain_seconds);
  std::jthread ending([&](const std::stop_token& over) {
    const char* const signal = signals.wait(over);
    if (signal == nullptr) return;
    std::cerr << concat("trident serve: ", signal, ", answering what waits for at most ", options.drain_seconds,
                        " s; a second signal ends at once\n")
              << std::flush;
    server.stop_serving();
    using Clock = PendingRequest::Clock;
    engine.stop(Clock::now() + std::chrono::duration_cast<Clock::duration>(drain));
    signals.let_end(over);
  });
  announce(engine, server, metrics, context);
  engine.run();
  std::uint64_t answered = 0;
  for (const ServedModel& model : engine.models()) answered += model.statistics->snapshot().success.count;
  std::cerr << concat("trident serve: stopped after answering ", answered, answered == 1 ? " request\n" : " requests\n") << std::flush;
}

}  // namespace

Command serve_command() {
  return {"serve", "answers predictions through gRPC (KServe v2)", [](Arguments& arguments) {
            const auto options = std::make_shared<ServeOptions>();
            arguments.add("--model-repository", options->repository, "folder of model directories, each a model of its name",
                          Presence::required);
            arguments.add("--grpc-address", options->grpc_address, "HOST:PORT or unix:PATH to listen at; port 0 takes a free one");
            arguments.add("--metrics-address", options->metrics_address, "HOST:PORT of metrics for Prometheus; without it there are none");
            arguments.add("--max-queue", options->max_queue, "requests that may wait; more are refused");
            arguments.add("--drain-seconds", options->drain_seconds, "after SIGTERM, time to answer what waits");
            return [options](CommandContext& context) { serve(*options, context); };
          }};
}

}  // namespace trident
