/// Question: how many samples a second does the loader read, normalise and hand over, of files that lie in the machine's memory, and what
/// share of the memory bandwidth is that (a sample is read and written once)? Samples as Poseidon is trained on: two frames of 128x128
/// points, of an NS-Sines file in one piece, in chunks of a frame, and as trajectories that are transposed (NS-SL).
///
/// loader_perf [SECONDS [THREADS]]
#include <chrono>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <string>
#include <vector>

#include "launch/data/hdf5_file.h"
#include "launch/data/loader.h"
#include "perf/machine_limits.h"

namespace trident {
namespace {

constexpr std::int64_t kTrajectories = 200, kFrames = 21, kPoints = 128, kBatch = 64;

struct Case {
  const char* name;
  const char* problem;
  Shape chunks;
};

std::string write_file(const Case& work) {
  const std::string path = (std::filesystem::temp_directory_path() / "loader_perf.nc").string();
  Hdf5File file = Hdf5File::create(path);
  const Shape frame{1, 1, 2, kPoints, kPoints};
  const Hdf5Dataset velocity = file.create_dataset("velocity", {kTrajectories, kFrames, 2, kPoints, kPoints}, DType::f32, work.chunks);
  const std::vector<float> numbers(static_cast<std::size_t>(numel(frame)), 0.5F);
  for (std::int64_t n = 0; n < kTrajectories; ++n) {
    for (std::int64_t t = 0; t < kFrames; ++t) velocity.write({n, t, 0, 0, 0}, frame, numbers.data());
  }
  file.close();
  return path;
}

void measure(const Case& work, double seconds, int threads) {
  const std::string path = write_file(work);
  DataEntry entry;
  entry.problem = work.problem, entry.path = path, entry.trajectories = {0, kTrajectories};
  DataConfig config;
  config.train = {entry};
  const auto dataset = std::make_shared<const Dataset>(open_dataset(config, config.train, Split::train, "data.train"));
  Loader loader(dataset, {.global_batch_size = kBatch, .shuffle = true, .threads = threads});
  loader.next();
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  const std::clock_t cpu = std::clock();
  std::int64_t samples = 0;
  const auto passed = [&] { return std::chrono::duration<double>(Clock::now() - start).count(); };
  while (passed() < seconds) samples += loader.next()->size;
  const double time = passed(), bytes = 2.0 * 4.0 * kPoints * kPoints * (dataset->in_channels() + dataset->out_channels());
  std::printf(
      "{\"case\": \"%s\", \"threads\": %d, \"samples_per_second\": %.0f, \"cpu_seconds_per_sample\": %.6f, \"of_bandwidth\": %.3f}\n",
      work.name, threads, static_cast<double>(samples) / time,
      static_cast<double>(std::clock() - cpu) / CLOCKS_PER_SEC / static_cast<double>(samples),
      bytes * static_cast<double>(samples) / time / perf::stream_bandwidth());
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace trident

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::stod(argv[1]) : 3.0;
  const int threads = argc > 2 ? std::stoi(argv[2]) : 1;
  for (const trident::Case& work : {trident::Case{"one piece", "NS-Sines", {}}, trident::Case{"chunks", "NS-Sines", {1, 1, 1, 128, 128}},
                                    trident::Case{"transposed", "NS-SL", {}}})
    trident::measure(work, seconds, threads);
}
