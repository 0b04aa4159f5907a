/// What a rank of a mesh holds of a published model's parameters, gradients and moments. Meshes are described only: one process is each
/// rank in turn.
#include <gtest/gtest.h>

#include "parallel/optimizer.h"
#include "tests/models/support.h"

namespace trident {
namespace {

using testing::section;

struct Bytes {
  double all = 0.0;  // parameters, gradients and moments
  double moments = 0.0;
};

/// Of Poseidon-T.
Bytes held_by(const MeshSizes& sizes, const MeshSizes& coordinates, Sharding sharding) {
  ScotConfig config;
  config.image_size = 128, config.num_channels = 4, config.num_out_channels = 4, config.embed_dim = 48, config.depths = {4, 4, 4, 4};
  config.skip_connections = {2, 2, 2, 0}, config.window_size = 16, config.use_conditioning = true;
  const Mesh mesh = Mesh::described(sizes, coordinates);
  const ParameterList parameters = materialize(describe_model(section(config), mesh), DType::f32, Use::training, std::nullopt);
  const AdamW optimizer(
      parameters, {}, {0.0}, [](const std::string&) { return 0; }, FlatShares(parameters, mesh, sharding));
  Bytes held;
  for (const NamedPiece& moment : optimizer.state()) held.moments += static_cast<double>(moment.value.num_bytes());
  held.all = static_cast<double>(parameters.values().num_bytes() + parameters.gradients().num_bytes()) + held.moments;
  return held;
}

TEST(ScotMemory, TwoTensorRanksHoldLittleMoreThanHalf) {
  const Bytes alone = held_by({1, 1, 1, 1}, {}, Sharding::none);
  for (int rank = 0; rank < 2; ++rank) {
    EXPECT_LE(held_by({1, 1, 1, 2}, {0, 0, 0, rank}, Sharding::none).all, 0.55 * alone.all) << "rank " << rank;
  }
}

TEST(ScotMemory, FourRanksThatShareTheOptimiserHoldAQuarterOfTheMoments) {
  const Bytes alone = held_by({1, 1, 1, 1}, {}, Sharding::none);
  for (int rank = 0; rank < 4; ++rank) {
    EXPECT_LE(held_by({4, 1, 1, 1}, {rank, 0, 0, 0}, Sharding::over_replicas).moments, 0.26 * alone.moments) << "rank " << rank;
  }
}

}  // namespace
}  // namespace trident
