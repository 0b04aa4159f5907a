/// Tensors on GPUs travel between ranks as those on the host do: through host memory, and by MPI that takes their addresses.
#include <gtest/gtest.h>

#include <numeric>

#include "parallel/cuda_aware_communicator.h"
#include "parallel/mesh.h"
#include "parallel/staged_communicator.h"
#include "runtime/error.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"
#include "tests/support/on_gpu.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_near.h"
#include "tests/support/test_world.h"

namespace trident {
namespace {

using testing::kGpu;
using testing::random_tensor;
using testing::world;

using Make = std::unique_ptr<Communicator> (*)(std::shared_ptr<Communicator>, Device);

class DeviceCommunicator : public ::testing::TestWithParam<Make> {
 protected:
  void SetUp() override {
    if (cuda_device_count() == 0) GTEST_SKIP() << "no CUDA device";
    if (GetParam() == make_cuda_aware_communicator && !testing::is_emulated(kGpu)) GTEST_SKIP() << "no CUDA device that any MPI reaches";
    devices = GetParam()(world()->duplicate(), kGpu);
  }

  /// Calls collective(communicator, source, target) with host tensors over the host, and with their copies on the device.
  template <class Collective>
  void expect_same(const Tensor& source, std::int64_t target_size, const Collective& collective) {
    const Tensor target = zeros({target_size}, source.dtype());
    const Tensor source_there = to_device(packed(source), kGpu), target_there = zeros({target_size}, source.dtype(), kGpu);
    collective(*world(), source, target);
    collective(*devices, source_there, target_there);
    EXPECT_TENSOR_NEAR(to_device(target_there, Device{}), target, 0.0);
    EXPECT_TENSOR_NEAR(to_device(source_there, Device{}), source, 0.0);
  }

  /// Of every rank, `scale` times; one has none.
  std::vector<std::int64_t> uneven(std::int64_t scale) const {
    std::vector<std::int64_t> counts(static_cast<std::size_t>(ranks));
    for (int rank = 0; rank < ranks; ++rank) counts[static_cast<std::size_t>(rank)] = rank == 1 ? 0 : (rank + 2) * scale;
    return counts;
  }
  const int ranks = world()->size(), here = world()->rank();
  const std::uint64_t seed = static_cast<std::uint64_t>(here);
  std::unique_ptr<Communicator> devices;
};

TEST_P(DeviceCommunicator, CarriesDeviceTensorsAsTheHostCarriesItsOwn) {
  for (const std::int64_t scale : {1, 40000}) {
    const std::vector<std::int64_t> counts = uneven(scale), equal(static_cast<std::size_t>(ranks), 3 * scale);
    const std::int64_t all = std::accumulate(counts.begin(), counts.end(), std::int64_t{0}), own = counts[static_cast<std::size_t>(here)];
    expect_same(random_tensor({own}, seed), all,
                [&](Communicator& comm, const Tensor& x, const Tensor& y) { comm.all_gather(x, y, counts); });
    expect_same(random_tensor({all}, seed), own,
                [&](Communicator& comm, const Tensor& x, const Tensor& y) { comm.reduce_scatter(x, y, counts); });
    expect_same(random_tensor({5 * scale}, seed), 0,
                [](Communicator& comm, const Tensor& x, const Tensor&) { comm.broadcast(x, comm.size() - 1); });
    expect_same(random_tensor({3 * scale * ranks}, seed), 3 * scale * ranks,
                [&](Communicator& comm, const Tensor& x, const Tensor& y) { comm.all_to_all(x, equal, y, equal); });
    expect_same(random_tensor({4 * scale}, seed), 4 * scale, [](Communicator& comm, const Tensor& x, const Tensor& y) {
      comm.send_receive(x, (comm.rank() + 1) % comm.size(), y, (comm.rank() + comm.size() - 1) % comm.size());
    });
  }
}

TEST_P(DeviceCommunicator, ReducesAllKindsOfNumbersInRankOrder) {
  for (const DType dtype : {DType::f32, DType::f64}) {
    for (const std::int64_t size : {0, 1, 5, 100001}) {
      expect_same(random_tensor({size}, seed, dtype), 0,
                  [](Communicator& comm, const Tensor& x, const Tensor&) { comm.all_reduce(x, ReduceOp::sum); });
    }
  }
  expect_same(random_tensor({77}, seed), 0, [](Communicator& comm, const Tensor& x, const Tensor&) { comm.all_reduce(x, ReduceOp::max); });
  const Tensor turned = from_values<c64>({2}, std::vector<c64>{{1.0F, 0.5F}, {0.0F, static_cast<float>(here)}}, kGpu);
  devices->all_reduce(turned, ReduceOp::sum);
  const auto n = static_cast<float>(ranks);
  EXPECT_EQ(to_host<c64>(turned), (std::vector<c64>{{n, n / 2}, {0.0F, n * (n - 1) / 2}}));
  const Tensor count = from_values<std::int64_t>({1}, std::vector<std::int64_t>{here}, kGpu);
  devices->all_reduce(count, ReduceOp::sum);
  EXPECT_EQ(to_host<std::int64_t>(count).front(), ranks * (ranks - 1) / 2);
}

TEST_P(DeviceCommunicator, PutsResultsIntoPartsOfItsInputs) {
  const std::vector<std::int64_t> counts(static_cast<std::size_t>(ranks), 100);
  const Tensor x = to_device(random_tensor({100 * ranks}, seed), kGpu), sum = to_device(x, Device{});
  world()->all_reduce(sum, ReduceOp::sum);
  const Tensor own = view::slice(x, 0, here * 100, (here + 1) * 100);
  devices->reduce_scatter(x, own, counts);
  devices->all_gather(own, x, counts);
  EXPECT_TENSOR_NEAR(to_device(x, Device{}), sum, 0.0);
}

TEST_P(DeviceCommunicator, RefusesPartsThatDoNotFit) {
  std::vector<std::int64_t> counts(static_cast<std::size_t>(ranks), 2);
  const Tensor x = zeros({2 * ranks}, DType::f64, kGpu), small = zeros({1}, DType::f64, kGpu);
  EXPECT_THROW(devices->all_to_all(small, counts, x, counts), ShapeError);
  EXPECT_THROW(devices->all_gather(small, x, counts), ShapeError);
  EXPECT_THROW(devices->reduce_scatter(x, small, counts), ShapeError);
}

TEST_P(DeviceCommunicator, WorksOnAMeshsStreamBehindWhatTheDeviceComputes) {
  const Mesh mesh(std::move(devices), {ranks, 1, 1, 1});
  const Tensor x = zeros({1000}, DType::f64, kGpu), one = full({1000}, 1.0, DType::f64, kGpu);
  double expected = 0.0;
  for (int repeat = 1; repeat <= 3; ++repeat) {
    add_into(x, one);
    mesh.stream().enqueue([x, &comm = mesh.comm(Axis::data)] { comm.all_reduce(x, ReduceOp::sum); });
    mesh.stream().synchronize();
    expected = (expected + 1.0) * ranks;
    EXPECT_TENSOR_NEAR(to_device(x, Device{}), full({1000}, expected, DType::f64), 0.0);
  }
}

INSTANTIATE_TEST_SUITE_P(Paths, DeviceCommunicator, ::testing::Values(Make{make_staged_communicator}, Make{make_cuda_aware_communicator}),
                         [](const auto& info) { return info.index == 0 ? "ThroughHostMemory" : "FromDeviceToDevice"; });

}  // namespace
}  // namespace trident
