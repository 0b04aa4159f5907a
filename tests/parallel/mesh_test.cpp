#include "parallel/mesh.h"

#include <gtest/gtest.h>

#include "runtime/error.h"
#include "runtime/tensor/create.h"
#include "tests/support/test_world.h"

namespace trident {
namespace {

using testing::world;

double sum_over(const Mesh& mesh, AxisSet axes, double number) {
  const Tensor x = full({1}, number, DType::f64);
  mesh.comm(axes).all_reduce(x, ReduceOp::sum);
  return to_number(x);
}

TEST(Mesh, OneRankIsAMeshOfOnes) {
  const Mesh mesh;
  EXPECT_EQ(mesh.size(AxisSet::all()), 1);
  EXPECT_EQ(mesh.world().size(), 1);
  EXPECT_EQ(to_string(mesh), "");
}

TEST(Mesh, AllRanksOnTheDataAxis) {
  const Mesh mesh(world(), {world()->size(), 1, 1, 1});
  EXPECT_EQ(mesh.coordinate(Axis::data), world()->rank());
  EXPECT_EQ(sum_over(mesh, Axis::data, 1.0), world()->size());
  EXPECT_EQ(sum_over(mesh, AxisSet{}, 1.0), 1.0);
  EXPECT_EQ(sum_over(mesh, Axis::domain_y | Axis::tensor, 1.0), 1.0);
  EXPECT_EQ(&mesh.comm(Axis::data), &mesh.comm(Axis::data | Axis::tensor));
  EXPECT_EQ(to_string(mesh), world()->size() == 1 ? "" : concat("data ", world()->rank()));
}

TEST(Mesh, TwoAxesHaveTheirOwnSumsAndAProduct) {
  const int ranks = world()->size();
  if (ranks % 2 != 0) GTEST_SKIP() << "needs an even number of ranks";
  const Mesh mesh(world(), {ranks / 2, 1, 1, 2});
  EXPECT_EQ(mesh.coordinate(Axis::tensor), world()->rank() % 2);  // tensor neighbours are consecutive ranks
  const double number = 10.0 * mesh.coordinate(Axis::data) + mesh.coordinate(Axis::tensor);
  EXPECT_EQ(sum_over(mesh, Axis::tensor, number), 20.0 * mesh.coordinate(Axis::data) + 1.0);
  EXPECT_EQ(sum_over(mesh, Axis::data | Axis::tensor, 1.0), ranks);
  EXPECT_EQ(mesh.comm(Axis::data | Axis::tensor).rank(), mesh.coordinate(Axis::data) * 2 + mesh.coordinate(Axis::tensor));
}

TEST(Mesh, RanksOfASetAreRowMajorWhateverTheOrder) {
  const int ranks = world()->size();
  if (ranks % 2 != 0) GTEST_SKIP() << "needs an even number of ranks";
  const Mesh mesh(world(), {1, 2, ranks / 2, 1}, {Axis::domain_y, Axis::domain_x, Axis::data, Axis::tensor});
  EXPECT_EQ(mesh.coordinate(Axis::domain_y), world()->rank() % 2);
  EXPECT_EQ(mesh.comm(Axis::domain_y | Axis::domain_x).rank(),
            mesh.coordinate(Axis::domain_y) * (ranks / 2) + mesh.coordinate(Axis::domain_x));
  const Mesh copy = mesh.duplicate();
  EXPECT_EQ(copy.coordinate(Axis::domain_x), mesh.coordinate(Axis::domain_x));
  EXPECT_EQ(sum_over(copy, AxisSet::all(), 1.0), ranks);
}

TEST(Mesh, TheBackgroundNeitherWaitsForOtherExchangesNorHoldsThemUp) {
  const Mesh mesh(world(), {world()->size(), 1, 1, 1}), background = mesh.background();
  if (world()->size() > 1 && !world()->has_concurrent_lanes()) GTEST_SKIP() << "MPI has no MPI_THREAD_MULTIPLE here";
  constexpr std::int64_t kNumbers = 100000;
  const std::int64_t before = mesh.bytes_sent(), ranks = world()->size();
  const Tensor behind = full({kNumbers}, 1.0, DType::f64), needed = full({kNumbers}, 2.0, DType::f64);
  const auto send_behind = [&] {
    background.stream().enqueue([behind, &comm = background.world()] { comm.all_reduce(behind, ReduceOp::sum); });
  };
  if (world()->rank() == 0) send_behind();  // rank 0 begins with the one, the others with the other
  mesh.world().all_reduce(needed, ReduceOp::sum);
  if (world()->rank() != 0) send_behind();
  background.stream().synchronize();
  EXPECT_EQ(behind.data<double>()[kNumbers - 1], static_cast<double>(ranks));
  EXPECT_EQ(needed.data<double>()[kNumbers - 1], 2.0 * static_cast<double>(ranks));
  EXPECT_EQ(mesh.bytes_sent() - before, 2 * (2 * (ranks - 1) * 8 * kNumbers / ranks));
  EXPECT_EQ(&mesh.background().world(), &background.world());
}

TEST(Mesh, WorkOnItsStreamIsDoneAfterSynchronising) {
  for (const StreamMode mode : {StreamMode::overlapped, StreamMode::serialised}) {
    const Mesh mesh(world(), {world()->size(), 1, 1, 1}, kDefaultOrder, mode);
    const Tensor x = full({3}, 1.0, DType::f64);
    mesh.stream().enqueue([&] { mesh.world().all_reduce(x, ReduceOp::sum); });
    mesh.stream().synchronize();
    EXPECT_EQ(to_host<double>(x), std::vector<double>(3, world()->size()));
  }
}

TEST(Mesh, RefusesSizesThatDoNotMakeTheJob) {
  EXPECT_THROW(Mesh(world(), {world()->size() + 1, 1, 1, 1}), ConfigError);
  EXPECT_THROW(Mesh(world(), {world()->size(), 0, 1, 1}), ConfigError);
  EXPECT_THROW(Mesh(world(), {world()->size(), 1, 1, 1}, {Axis::data, Axis::data, Axis::domain_x, Axis::tensor}), ConfigError);
}

TEST(Mesh, ADescribedOneHasNoRanks) {
  const Mesh mesh = Mesh::described({4, 2, 2, 3}, {1, 1, 0, 2});
  EXPECT_EQ(mesh.size(Axis::domain_y | Axis::tensor), 6);
  EXPECT_EQ(to_string(mesh), "data 1 domain_y 1 domain_x 0 tensor 2");
  EXPECT_THROW(mesh.comm(Axis::data), CommunicationError);
}

TEST(Mesh, ACountingOneSendsAsManyBytesAsTheRealOne) {
  const int ranks = world()->size();
  const Mesh real(world(), {ranks, 1, 1, 1}), counting = Mesh::counting({ranks, 1, 1, 1}, {world()->rank(), 0, 0, 0});
  const auto send = [&](const Mesh& mesh, Device device) {
    Communicator& comm = mesh.comm(Axis::data);
    const std::int64_t before = mesh.bytes_sent();
    std::vector<std::int64_t> ones(static_cast<std::size_t>(ranks), 1), to_first(ones.size()), from_others(ones.size());
    to_first[0] = 5;
    if (comm.rank() == 0) from_others.assign(ones.size(), 5);
    const Tensor x = zeros({1000}, DType::f32, device), own = zeros({1}, DType::f32, device), all = zeros({ranks}, DType::f32, device);
    comm.all_reduce(x, ReduceOp::sum);
    comm.all_gather(own, all, ones);
    comm.reduce_scatter(all, own, ones);
    comm.all_to_all(zeros({5}, DType::f32, device), to_first, zeros({comm.rank() == 0 ? 5 * ranks : 0}, DType::f32, device), from_others);
    comm.broadcast(x, 0);
    return mesh.bytes_sent() - before;
  };
  EXPECT_EQ(send(counting, {.counted = true}), send(real, {}));
  EXPECT_EQ(counting.comm(Axis::data).rank(), real.comm(Axis::data).rank());
  EXPECT_EQ(counting.background().bytes_sent(), 0);
}

TEST(Mesh, RanksThatAreOnlyCountedTellTheSameSizes) {
  const Mesh mesh = Mesh::counting({3, 1, 1, 1}, {1, 0, 0, 0});
  const Tensor own = full({1}, 7.0, DType::f64), all = zeros({3}, DType::f64);
  mesh.comm(Axis::data).all_gather(own, all, {1, 1, 1});
  EXPECT_EQ(to_host<double>(all), std::vector<double>(3, 7.0));
}

}  // namespace
}  // namespace trident
