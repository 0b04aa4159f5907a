/// `trident serve`: loads the models of a folder, listens, and computes on this thread until a signal asks for the end.
#include <malloc.h>

#include <chrono>
#include <csignal>
#include <iostream>
#include <optional>
#include <stop_token>
#include <thread>

#include "checkpoint/model_directory.h"
#include "launch/commands.h"
#include "launch/device_choice.h"
#include "launch/mesh_choice.h"
#include "parallel/messages.h"
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
  std::vector<std::string> overrides;
  std::int64_t max_queue = QueueLimits{}.requests;
  double drain_seconds = 30.0;
};

volatile std::sig_atomic_t end_signal = 0;

/// SIGTERM and SIGINT as something to wait for; a second one ends the process at once. Handlers, because threads that MPI started before
/// do not hold signals back.
class EndSignals {
 public:
  EndSignals() {
    end_signal = 0;
    for (const int signal : {SIGTERM, SIGINT})
      std::signal(signal, [](int received) {
        end_signal = received;
        std::signal(SIGTERM, SIG_DFL);
        std::signal(SIGINT, SIG_DFL);
      });
  }
  ~EndSignals() {
    std::signal(SIGTERM, SIG_DFL);
    std::signal(SIGINT, SIG_DFL);
  }
  EndSignals(const EndSignals&) = delete;
  EndSignals& operator=(const EndSignals&) = delete;

  /// The first one; null if it is over before one arrives.
  static const char* wait(const std::stop_token& over) {
    while (end_signal == 0 && !over.stop_requested()) std::this_thread::sleep_for(std::chrono::milliseconds(50));
    return end_signal == SIGTERM ? "SIGTERM" : end_signal == SIGINT ? "SIGINT" : nullptr;
  }
};

/// Messages of megabytes would be mapped and unmapped for every request, which takes longer than moving their bytes.
void keep_large_blocks() {
  mallopt(M_MMAP_THRESHOLD, 32 << 20);   // bytes; the most that the C library takes
  mallopt(M_TRIM_THRESHOLD, 256 << 20);  // bytes
}

void check(const ServeOptions& options) {
  if (!(options.drain_seconds >= 0.0 && options.drain_seconds <= 1e6)) {
    throw ConfigError(concat("drain-seconds: got ", options.drain_seconds, "; expected 0 to 1000000"));
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

/// Answers until a signal ends it.
void lead(const ServeOptions& options, std::vector<ServedModel> models, const CommandContext& context) {
  Engine engine(std::move(models), {.requests = options.max_queue});
  Server server(engine, options.grpc_address);
  std::optional<MetricsServer> metrics;
  if (options.metrics_address) metrics.emplace(engine, *options.metrics_address);

  // Readiness goes first, so that clients turn to other servers while what was accepted is still computed.
  const std::chrono::duration<double> drain(options.drain_seconds);
  std::jthread ending([&](const std::stop_token& over) {
    const char* const signal = EndSignals::wait(over);
    if (signal == nullptr) return;
    std::cerr << concat("trident serve: ", signal, ", answering what waits for at most ", options.drain_seconds,
                        " s; a second signal ends at once\n")
              << std::flush;
    server.stop_serving();
    using Clock = PendingRequest::Clock;
    engine.stop(Clock::now() + std::chrono::duration_cast<Clock::duration>(drain));
  });
  announce(engine, server, metrics, context);
  engine.run();
  std::uint64_t answered = 0;
  for (const ServedModel& model : engine.models()) answered += model.statistics->snapshot().success.count;
  std::cerr << concat("trident serve: stopped after answering ", answered, answered == 1 ? " request\n" : " requests\n") << std::flush;
}

/// What rank 0 is about to do with the others. They wait for it without a deadline: requests may be hours apart. It gives an order in the
/// time of any exchange: a rank that has stopped meanwhile ends the service, and leaves no client waiting.
class Orders {
 public:
  explicit Orders(const Mesh& mesh) : ranks_(mesh.world().duplicate()) {
    if (ranks_->rank() != 0) ranks_->set_timeout(kForever);
  }

  void compute(std::size_t model) const { send(std::to_string(model)); }
  void end() const { send(kEnd); }
  /// The model that is to compute; nothing at the end.
  std::optional<std::size_t> next() const {
    const std::string order = broadcast_text(*ranks_, "", 0);
    return order == kEnd ? std::nullopt : std::optional(std::stoul(order));
  }

 private:
  static constexpr const char* kEnd = "end";
  static constexpr double kForever = 1e9;  // seconds
  void send(const std::string& order) const {
    if (ranks_->size() > 1) broadcast_text(*ranks_, order, 0);
  }
  std::unique_ptr<Communicator> ranks_;
};

/// Every prediction of rank 0 is announced to the others first. The engine has checked by then that the request fits the model.
std::vector<ServedModel> led(std::vector<ServedModel> models, const std::shared_ptr<const Orders>& orders) {
  for (std::size_t index = 0; index < models.size(); ++index) {
    models[index].predict = [index, orders, predict = models[index].predict](const PredictionRequest& request) {
      orders->compute(index);
      return predict(request);
    };
  }
  return models;
}

void follow(const std::vector<ServedModel>& models, const Orders& orders) {
  while (const auto model = orders.next()) models[*model].follow();
}

Mesh mesh_for(const ServeOptions& options, CommandContext& context) {
  const auto [parallel, document] = parallel_of(options.overrides);
  MeshLoad load;
  for (const auto& folder : model_folders(options.repository)) load.models.push_back(read_model_config(folder));
  return make_inference_mesh(parallel, document, load, context);
}

void serve(const ServeOptions& options, CommandContext& context) {
  check(options);
  const EndSignals signals;
  keep_large_blocks();
  const Computing computing = computing_of(context);
  const Mesh mesh = mesh_for(options, context);
  std::vector<ServedModel> models = load_repository(options.repository, computing, mesh);
  const auto orders = std::make_shared<const Orders>(mesh);
  if (mesh.world().rank() != 0) return follow(models, *orders);
  lead(options, led(std::move(models), orders), context);
  orders->end();
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
            arguments.add("key=value", options->overrides, "how ranks share a model: parallel.domain_y=2 (docs/parallelism.md)");
            return [options](CommandContext& context) { serve(*options, context); };
          }};
}

}  // namespace trident
