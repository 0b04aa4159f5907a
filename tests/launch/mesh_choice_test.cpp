#include "launch/mesh_choice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace trident {
namespace {

using ::testing::HasSubstr;

/// 8 x 8 tokens in windows of 4: two windows along each axis.
MeshLoad small_load(std::int64_t batch) {
  return {
      .models = {parse_json(R"({"type": "scot", "image_size": 32, "patch_size": 4, "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2],
                                    "skip_connections": [1, 0], "window_size": 4, "num_channels": 2, "num_out_channels": 2})",
                            "test")},
      .batch = batch,
      .points = {32, 32}};
}

TEST(MeshChoice, RanksMustBeThoseOfTheJob) {
  EXPECT_FALSE(objection_to({2, 2, 1, 1}, 4, small_load(8)));
  EXPECT_THAT(*objection_to({2, 2, 1, 1}, 3, small_load(8)), HasSubstr("it has 4 ranks, but the job has 3"));
}

TEST(MeshChoice, MoreDomainRanksThanWindowsAreRefused) {
  EXPECT_FALSE(objection_to({1, 2, 2, 1}, 4, small_load(1)));
  EXPECT_TRUE(objection_to({1, 4, 1, 1}, 4, small_load(1)));
  EXPECT_EQ(nearest_mesh({1, 4, 1, 1}, 4, small_load(1)), (MeshSizes{1, 2, 2, 1}));
}

TEST(MeshChoice, MoreDataRanksThanSamplesAreRefused) {
  EXPECT_THAT(*objection_to({4, 1, 1, 1}, 4, small_load(2)), HasSubstr("4 ranks for a batch of 2 samples"));
  const auto nearest = nearest_mesh({4, 1, 1, 1}, 4, small_load(2));
  ASSERT_TRUE(nearest);
  EXPECT_EQ((*nearest)[0], 2);
}

TEST(MeshChoice, TensorRanksThatWouldHoldNothingAreRefused) {
  EXPECT_FALSE(objection_to({1, 1, 1, 4}, 4, small_load(1)));
  EXPECT_TRUE(objection_to({1, 1, 1, 4096}, 4096, small_load(1)));
}

TEST(MeshChoice, DomainRanksSharePatches) {
  const MeshLoad load{
      .models = {parse_yaml("{type: mg_tfno, n_modes: [4, 4], in_channels: 1, out_channels: 1, hidden_channels: 4}", "model")},
      .points = {16, 16}};
  EXPECT_FALSE(objection_to({1, 1, 3, 1}, 3, load));
}

TEST(MeshChoice, ParallelOfReadsArgumentsOfCommandsWithoutARunFile) {
  const auto [parallel, document] = parallel_of({"parallel.domain_y=2", "parallel.timeout_seconds=5"});
  EXPECT_EQ(parallel.domain_y, 2);
  EXPECT_EQ(parallel.timeout_seconds, 5);
  EXPECT_THROW(parallel_of({"parallel.domain_y=0"}), ConfigError);
  EXPECT_THROW(parallel_of({"training.steps=3"}), ConfigError);
}

}  // namespace
}  // namespace trident
