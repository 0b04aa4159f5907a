#include "launch/generate/flow_set.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <thread>

#include "launch/data/hdf5_file.h"
#include "parallel/communicator.h"
#include "runtime/device/threads.h"
#include "runtime/error.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/test_world.h"

namespace trident {
namespace {

using testing::message_of;
using testing::read_bytes;
using testing::TemporaryFolder;
using testing::world;
using testing::write_bytes;

class FlowSets : public ::testing::Test {
 protected:
  FlowSets() {
    options.problem = "NS-PwC";
    options.trajectories = 5;
    options.resolution = 16;
    options.output = (folder / "flow.nc").string();
    options.seed = 3;
  }

  std::vector<float> contents() const {
    const Hdf5Dataset dataset = Hdf5File::open(options.output).dataset("velocity");
    std::vector<float> values(static_cast<std::size_t>(numel(dataset.shape())));
    dataset.read({0, 0, 0, 0, 0}, dataset.shape(), values.data());
    return values;
  }

  /// Trajectory by trajectory, by one solver.
  std::vector<float> solved() const {
    const FlowSet& set = find_flow_set(options.problem);
    NavierStokes solver({.resolution = options.resolution, .viscosity = options.viscosity});
    const std::int64_t floats = kFrames * set.channels * options.resolution * options.resolution;
    std::vector<float> values(static_cast<std::size_t>(options.trajectories * floats));
    for (std::int64_t k = 0; k < options.trajectories; ++k)
      solve_trajectory(set, options, options.first + k, solver, values.data() + k * floats);
    return values;
  }

  TemporaryFolder folder;  // of each rank; rank 0 writes into its own
  GenerateOptions options;
};

TEST_F(FlowSets, AreTheSameOnAnyNumberOfRanksAndThreads) {
  const int threads = num_threads();
  for (const int count : {1, 3}) {
    set_num_threads(count);
    options.overwrite = count > 1;
    generate_flow_set(options, *world());
    EXPECT_TRUE(world()->rank() != 0 || contents() == solved()) << count << " threads";
  }
  set_num_threads(threads);
}

TEST_F(FlowSets, MayBeMadeInParts) {
  const std::vector<float> whole = solved();
  options.first = 3;
  options.trajectories = 2;
  generate_flow_set(options, *world());
  if (world()->rank() != 0) return;
  const std::vector<float> part = contents();
  EXPECT_TRUE(std::equal(part.begin(), part.end(), whole.end() - static_cast<std::ptrdiff_t>(part.size()), whole.end()));
}

TEST_F(FlowSets, DifferBySeedAndTrajectory) {
  const std::vector<float> first = solved();
  EXPECT_NE(first[0], first[first.size() / 5]);
  options.seed = 4;
  EXPECT_NE(first[0], solved()[0]);
}

TEST_F(FlowSets, LieInTheLayoutOfThePublishedOnes) {
  options.trajectories = 1;
  for (const std::string& name : flow_set_names()) {
    options.problem = name;
    options.overwrite = true;
    generate_flow_set(options, *world());
    if (world()->rank() != 0) continue;
    const Hdf5File file = Hdf5File::open(options.output);
    EXPECT_EQ(file.names(), (std::vector<std::string>{"channel", "sample", "time", "velocity", "x", "y"}));
    EXPECT_EQ(file.dataset("velocity").shape(), (Shape{1, 21, name == "NS-SL" ? 2 : 3, 16, 16}));
  }
}

TEST_F(FlowSets, OfShearLayersLieTransposed) {
  options.problem = "NS-SL";
  options.trajectories = 1;
  const std::vector<float> stored = solved();
  NavierStokes solver({.resolution = 16, .viscosity = options.viscosity});
  const Flow flow = initial_flow(FlowFamily::shear_layer, solver.grid(), RandomKey(3).fold("NS-SL").fold(0), options.velocity_std, false);
  std::vector<double> u(256), v(256);
  solver.velocity(flow, u, v);
  EXPECT_EQ(stored[2 * 16 + 5], static_cast<float>(u[5 * 16 + 2]));
  EXPECT_EQ(stored[256 + 2 * 16 + 5], static_cast<float>(v[5 * 16 + 2]));
}

TEST_F(FlowSets, DoNotReplaceAFileUnasked) {
  write_bytes(options.output, "precious");
  const auto one = make_self_communicator();
  EXPECT_THAT(message_of<ConfigError>([&] { generate_flow_set(options, *one); }), ::testing::HasSubstr("--overwrite"));
  EXPECT_EQ(read_bytes(options.output), "precious");
}

TEST_F(FlowSets, RefuseWhatCannotBeMeant) {
  const auto one = make_self_communicator();
  const auto refuse = [&](auto change, const char* what) {
    GenerateOptions wrong = options;
    change(wrong);
    EXPECT_THAT(message_of<ConfigError>([&] { generate_flow_set(wrong, *one); }), ::testing::HasSubstr(what));
  };
  refuse([](GenerateOptions& wrong) { wrong.problem = "CE-RP"; }, "there are NS-Sines");
  refuse([](GenerateOptions& wrong) { wrong.trajectories = 0; }, "--trajectories 0");
  refuse([](GenerateOptions& wrong) { wrong.resolution = 4; }, "--resolution 4");
  refuse([](GenerateOptions& wrong) { wrong.velocity_std = 0.0; }, "--velocity-std 0");
  refuse([](GenerateOptions& wrong) { wrong.viscosity = -1.0; }, "--viscosity -1");
}

TEST_F(FlowSets, LeaveNothingBehindWhenStopped) {
  options.trajectories = 100000;
  const auto one = make_self_communicator();
  std::thread sender([] {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    std::raise(SIGTERM);
  });
  EXPECT_THAT(message_of<Error>([&] { generate_flow_set(options, *one); }), ::testing::HasSubstr("stopped by a signal"));
  sender.join();
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

}  // namespace
}  // namespace trident
