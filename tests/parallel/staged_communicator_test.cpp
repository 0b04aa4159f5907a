/// Tensors on GPUs travel between ranks as those on the host do.
#include "parallel/staged_communicator.h"

#include <gtest/gtest.h>

#include <numeric>

#include "parallel/mesh.h"
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

class StagedCommunicator : public testing::OnGpu {
 protected:
  StagedCommunicator() : staged(make_staged_communicator(world()->duplicate(), kGpu)), ranks(staged->size()) {}

  /// Calls collective(communicator, source, target) with host tensors over the host, and with their copies on the device.
  template <class Collective>
  void expect_same(const Tensor& source, std::int64_t target_size, const Collective& collective) {
    const Tensor target = zeros({target_size}, source.dtype());
    const Tensor source_there = to_device(packed(source), kGpu), target_there = zeros({target_size}, source.dtype(), kGpu);
    collective(*world(), source, target);
    collective(*staged, source_there, target_there);
    EXPECT_TENSOR_NEAR(to_device(target_there, Device{}), target, 0.0);
    EXPECT_TENSOR_NEAR(to_device(source_there, Device{}), source, 0.0);
  }

  std::vector<std::int64_t> uneven() const {
    std::vector<std::int64_t> counts(static_cast<std::size_t>(ranks));
    std::iota(counts.begin(), counts.end(), 2);
    return counts;
  }
  std::unique_ptr<Communicator> staged;
  int ranks;
};

TEST_F(StagedCommunicator, CarriesDeviceTensorsAsTheHostCarriesItsOwn) {
  const auto seed = static_cast<std::uint64_t>(world()->rank());
  const std::vector<std::int64_t> counts = uneven();
  const std::int64_t all = std::accumulate(counts.begin(), counts.end(), std::int64_t{0}),
                     own = counts[static_cast<std::size_t>(world()->rank())];
  expect_same(random_tensor({5}, seed), 0, [](Communicator& comm, const Tensor& x, const Tensor&) { comm.all_reduce(x, ReduceOp::sum); });
  expect_same(random_tensor({own}, seed), all,
              [&](Communicator& comm, const Tensor& x, const Tensor& y) { comm.all_gather(x, y, counts); });
  expect_same(random_tensor({all}, seed), own,
              [&](Communicator& comm, const Tensor& x, const Tensor& y) { comm.reduce_scatter(x, y, counts); });
  expect_same(random_tensor({5}, seed), 0, [](Communicator& comm, const Tensor& x, const Tensor&) { comm.broadcast(x, comm.size() - 1); });
  const std::vector<std::int64_t> three(static_cast<std::size_t>(ranks), 3);
  expect_same(random_tensor({3 * ranks}, seed), 3 * ranks,
              [&](Communicator& comm, const Tensor& x, const Tensor& y) { comm.all_to_all(x, three, y, three); });
  expect_same(random_tensor({4}, seed), 4, [](Communicator& comm, const Tensor& x, const Tensor& y) {
    comm.send_receive(x, (comm.rank() + 1) % comm.size(), y, (comm.rank() + comm.size() - 1) % comm.size());
  });
}

TEST_F(StagedCommunicator, WorksOnAMeshsStreamBehindWhatTheDeviceComputes) {
  const Mesh mesh(make_staged_communicator(world()->duplicate(), kGpu), {ranks, 1, 1, 1});
  const Tensor x = zeros({1000}, DType::f64, kGpu);
  for (int repeat = 1; repeat <= 3; ++repeat) {
    add_into(x, to_device(full({1000}, 1.0, DType::f64), kGpu));
    mesh.stream().enqueue([x, &comm = mesh.comm(Axis::data)] { comm.all_reduce(x, ReduceOp::max); });
    mesh.stream().synchronize();
    EXPECT_TENSOR_NEAR(to_device(x, Device{}), full({1000}, repeat, DType::f64), 0.0);
  }
}

}  // namespace
}  // namespace trident
