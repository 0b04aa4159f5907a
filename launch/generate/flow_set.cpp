#include "launch/generate/flow_set.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <exception>
#include <filesystem>
#include <iostream>
#include <memory>
#include <mutex>
#include <thread>

#include "launch/generate/pdegym_writer.h"
#include "launch/trainer/progress.h"
#include "launch/trainer/stop_signal.h"
#include "parallel/communicator.h"
#include "parallel/range.h"
#include "runtime/device/threads.h"
#include "runtime/error.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"

namespace trident {
namespace {

constexpr std::array<FlowSet, 6> kFlowSets{{{"NS-Sines", FlowFamily::sines, 3, false},
                                            {"NS-Gauss", FlowFamily::gaussians, 3, false},
                                            {"NS-PwC", FlowFamily::cells, 3, false},
                                            {"NS-SVS", FlowFamily::vortex_sheet, 3, false},
                                            {"NS-BB", FlowFamily::brownian, 3, false},
                                            {"NS-SL", FlowFamily::shear_layer, 2, true}}};

void check(const GenerateOptions& options) {
  const auto require = [](bool fine, const char* key, auto value, const char* allowed) {
    if (!fine) throw ConfigError(concat("generate: --", key, " ", value, " is not possible; give ", allowed));
  };
  require(options.trajectories >= 1, "trajectories", options.trajectories, "1 or more");
  require(options.first >= 0, "first", options.first, "0 or more");
  require(options.resolution >= 8 && options.resolution <= 8192, "resolution", options.resolution, "8 to 8192 points per side");
  require(options.viscosity >= 0.0, "viscosity", options.viscosity, "0 or more");
  require(options.viscous_above >= 0.0, "viscous-above", options.viscous_above, "0 or more cycles per side");
  require(options.velocity_std > 0.0, "velocity-std", options.velocity_std, "a number above 0");
  if (options.output.empty()) throw ConfigError("generate: --output is missing; name the file to write");
  if (std::filesystem::exists(options.output) && !options.overwrite) {
    throw ConfigError(concat("generate: ", options.output, " exists; remove it, or replace it by --overwrite"));
  }
}

void store(const FlowSet& set, int n, const std::vector<double>& field, float* target) {
  for (int i = 0; i < n; ++i) {
    for (int j = 0; j < n; ++j) {
      const int source = set.transposed ? j * n + i : i * n + j;
      target[i * n + j] = static_cast<float>(field[static_cast<std::size_t>(source)]);
    }
  }
}

/// The threads of this rank, each with a solver of its own.
class Workers {
 public:
  Workers(const FlowSet& set, const GenerateOptions& options) : set_(set), options_(options) {
    for (int thread = 0; thread < num_threads(); ++thread) {
      solvers_.push_back(std::make_unique<NavierStokes>(
          FlowParameters{.resolution = options.resolution, .viscosity = options.viscosity, .viscous_above = options.viscous_above}));
    }
  }

  /// Trajectories [first, last) of the set into `frames`, one after the other. Stops early on a signal.
  void solve(std::int64_t first, std::int64_t last, float* frames, std::int64_t floats_per_trajectory) {
    std::atomic<std::int64_t> next{first};
    std::exception_ptr error;
    std::mutex mutex;
    std::vector<std::thread> threads;
    for (const auto& solver : solvers_) {
      threads.emplace_back([&, solver = solver.get()] {
        try {
          for (std::int64_t number = next++; number < last && StopSignal::received() == 0; number = next++) {
            solve_trajectory(set_, options_, options_.first + number, *solver, frames + (number - first) * floats_per_trajectory);
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
  const FlowSet& set_;
  const GenerateOptions& options_;
  std::vector<std::unique_ptr<NavierStokes>> solvers_;
};

class Report {
 public:
  Report(const GenerateOptions& options, bool speaks) : options_(options), speaks_(speaks) {}

  void operator()(std::int64_t done) {
    const auto now = Clock::now();
    if (!speaks_ || (done < options_.trajectories && now - last_ < std::chrono::seconds(2))) return;
    last_ = now;
    const double seconds = std::chrono::duration<double>(now - start_).count();
    const double left = seconds / static_cast<double>(done) * static_cast<double>(options_.trajectories - done);
    std::cerr << concat(options_.problem, ": ", done, " of ", options_.trajectories, " trajectories of ", kFrames, " frames, ",
                        readable_duration(seconds), ", ", readable_duration(left), " left\n");
  }

 private:
  using Clock = std::chrono::steady_clock;
  const GenerateOptions& options_;
  bool speaks_;
  Clock::time_point start_ = Clock::now(), last_ = start_;
};

/// Whether any rank was told to stop. Collective.
bool stopped(Communicator& world) {
  const Tensor flag = full({1}, StopSignal::received() == 0 ? 0.0 : 1.0, DType::f64);
  world.all_reduce(flag, ReduceOp::max);
  return to_number(flag) > 0.0;
}

std::string source_of(const GenerateOptions& options) {
  return concat("Trident generate ", options.problem, " --first ", options.first, " --resolution ", options.resolution, " --seed ",
                options.seed, " --viscosity ", options.viscosity, " --viscous-above ", options.viscous_above, " --velocity-std ",
                options.velocity_std);
}

}  // namespace

std::vector<std::string> flow_set_names() {
  std::vector<std::string> names;
  for (const FlowSet& set : kFlowSets) names.emplace_back(set.name);
  return names;
}

const FlowSet& find_flow_set(const std::string& name) {
  for (const FlowSet& set : kFlowSets) {
    if (set.name == name) return set;
  }
  std::string known;
  for (const std::string& other : flow_set_names()) known += (known.empty() ? "" : ", ") + other;
  throw ConfigError(concat("generate: problem \"", name, "\" has no solver; there are ", known));
}

void solve_trajectory(const FlowSet& set, const GenerateOptions& options, std::int64_t number, NavierStokes& solver, float* frames) {
  const RandomKey key = RandomKey(static_cast<std::uint64_t>(options.seed)).fold(set.name).fold(static_cast<std::uint64_t>(number));
  PeriodicGrid& grid = solver.grid();
  Flow flow = initial_flow(set.family, grid, key, options.velocity_std, set.channels > 2);
  std::array<std::vector<double>, 3> fields;
  for (auto& field : fields) field.resize(grid.points());
  for (int frame = 0; frame < kFrames; ++frame) {
    if (frame > 0) solver.advance(flow, 1.0 / (kFrames - 1));
    solver.velocity(flow, fields[0], fields[1]);
    if (set.channels > 2) grid.to_points(flow.tracer.data(), fields[2].data());
    for (int channel = 0; channel < set.channels; ++channel) {
      store(set, grid.n(), fields[static_cast<std::size_t>(channel)], frames);
      frames += grid.points();
    }
  }
}

void generate_flow_set(const GenerateOptions& options, Communicator& world) {
  const FlowSet& set = find_flow_set(options.problem);
  check(options);
  const StopSignal stop;
  Workers workers(set, options);
  const std::int64_t n = options.resolution, floats = kFrames * set.channels * n * n;
  // A few trajectories a thread: enough to even out how long they take, few enough to hold.
  const std::int64_t round = world.size() * workers.count() * 4;
  std::unique_ptr<PdegymWriter> writer;
  if (world.rank() == 0) {
    writer = std::make_unique<PdegymWriter>(options.output, "velocity", Shape{options.trajectories, kFrames, set.channels, n, n},
                                            source_of(options));
  }
  Report report(options, world.rank() == 0);
  for (std::int64_t first = 0; first < options.trajectories; first += round) {
    const std::int64_t count = std::min(round, options.trajectories - first);
    const auto part = [&](int rank) { return part_of(count, world.size(), rank); };
    const Range mine = part(world.rank());
    const Tensor frames = empty({mine.size(), floats}, DType::f32);
    workers.solve(first + mine.first, first + mine.last, frames.data<float>(), floats);
    if (stopped(world)) {
      writer.reset();
      stopped(world);  // the first rank that throws ends the job, so it waits for the file's remains to be gone
      throw Error(
          concat("generate: stopped by a signal after ", first, " of ", options.trajectories, " trajectories; nothing was written"));
    }
    if (writer == nullptr) {
      if (mine.size() > 0) world.send_receive(frames, 0, Tensor(), -1);
      continue;
    }
    for (int rank = 0; rank < world.size(); ++rank) {
      const Range theirs = part(rank);
      const Tensor received = rank == 0 ? frames : empty({theirs.size(), floats}, DType::f32);
      if (rank > 0 && theirs.size() > 0) world.send_receive(Tensor(), -1, received, rank);
      for (std::int64_t k = 0; k < theirs.size(); ++k) writer->write(first + theirs.first + k, received.data<float>() + k * floats);
    }
    report(first + count);
  }
  if (writer != nullptr) writer->commit();
}

}  // namespace trident
