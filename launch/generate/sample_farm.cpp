#include "launch/generate/sample_farm.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <iostream>
#include <mutex>
#include <thread>
#include <vector>

#include "launch/trainer/progress.h"
#include "launch/trainer/stop_signal.h"
#include "parallel/communicator.h"
#include "parallel/range.h"
#include "runtime/device/threads.h"
#include "runtime/error.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

/// The threads of this rank, each with a solver of its own.
class Workers {
 public:
  explicit Workers(const std::function<SolveSample()>& make_solver) {
    for (int thread = 0; thread < num_threads(); ++thread) solvers_.push_back(make_solver());
  }

  /// Samples [first, last) into `values`, one after the other. Stops early on a signal.
  void solve(std::int64_t first, std::int64_t last, float* values, std::int64_t floats) {
    std::atomic<std::int64_t> next{first};
    std::exception_ptr error;
    std::mutex mutex;
    std::vector<std::thread> threads;
    for (const SolveSample& solver : solvers_) {
      threads.emplace_back([&, &solver = solver] {
        try {
          for (std::int64_t number = next++; number < last && StopSignal::received() == 0; number = next++) {
            solver(number, values + (number - first) * floats);
          }
        } catch (...) {
          const std::lock_guard lock(mutex);
          error = std::current_exception();
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    if (error) std::rethrow_exception(error);
  }

  std::int64_t count() const { return static_cast<std::int64_t>(solvers_.size()); }

 private:
  std::vector<SolveSample> solvers_;
};

class Report {
 public:
  Report(const SampleFarm& farm, bool speaks) : farm_(farm), speaks_(speaks) {}

  void operator()(std::int64_t done) {
    const auto now = Clock::now();
    if (!speaks_ || (done < farm_.count && now - last_ < std::chrono::seconds(2))) return;
    last_ = now;
    const double seconds = std::chrono::duration<double>(now - start_).count();
    const double left = seconds / static_cast<double>(done) * static_cast<double>(farm_.count - done);
    std::cerr << concat(farm_.name, ": ", done, " of ", farm_.count, ' ', farm_.samples, ", ", readable_duration(seconds), ", ",
                        readable_duration(left), " left\n");
  }

 private:
  using Clock = std::chrono::steady_clock;
  const SampleFarm& farm_;
  bool speaks_;
  Clock::time_point start_ = Clock::now(), last_ = start_;
};

/// Whether any rank was told to stop. Collective.
bool stopped(Communicator& world) {
  const Tensor flag = full({1}, StopSignal::received() == 0 ? 0.0 : 1.0, DType::f64);
  world.all_reduce(flag, ReduceOp::max);
  return to_number(flag) > 0.0;
}

/// What `rank` holds in `values`, of this shape, on rank 0. Collective.
Tensor sent_to_first(Communicator& world, int rank, const Tensor& values, const Shape& shape) {
  const bool receives = world.rank() == 0;
  const Tensor received = receives ? empty(shape, DType::f32) : Tensor();
  world.send_receive(values, world.rank() == rank ? 0 : -1, received, receives ? rank : -1);
  return received;
}

}  // namespace

void farm_samples(const SampleFarm& farm, Communicator& world, const std::function<SolveSample()>& make_solver,
                  std::unique_ptr<SampleWriter> writer) {
  const StopSignal stop;
  Workers workers(make_solver);
  // A few samples a thread: enough to even out how long they take, few enough to hold.
  const std::int64_t round = world.size() * workers.count() * 4;
  Report report(farm, world.rank() == 0);
  for (std::int64_t first = 0; first < farm.count; first += round) {
    const std::int64_t count = std::min(round, farm.count - first);
    const auto part = [&](int rank) { return part_of(count, world.size(), rank); };
    const Range mine = part(world.rank());
    const Tensor values = empty({mine.size(), farm.floats}, DType::f32);
    workers.solve(farm.first + first + mine.first, farm.first + first + mine.last, values.data<float>(), farm.floats);
    if (stopped(world)) {
      writer.reset();
      stopped(world);  // the first rank that throws ends the job, so it waits for the file's remains to be gone
      throw Error(concat("generate: stopped by a signal after ", first, " of ", farm.count, ' ', farm.samples, "; nothing was written"));
    }
    for (int rank = 0; rank < world.size(); ++rank) {
      const std::int64_t samples = part(rank).size();
      const Tensor theirs = rank == 0 ? values : sent_to_first(world, rank, values, {samples, farm.floats});
      if (writer == nullptr) continue;
      for (std::int64_t k = 0; k < samples; ++k) writer->write(first + part(rank).first + k, theirs.data<float>() + k * farm.floats);
    }
    report(first + count);
  }
  if (writer != nullptr) writer->commit();
}

}  // namespace trident
