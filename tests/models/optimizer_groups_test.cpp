#include "models/optimizer_groups.h"

#include <gtest/gtest.h>

namespace trident {
namespace {

TEST(OptimizerGroups, GoByName) {
  using enum OptimizerGroup;
  const std::string block = "encoder.layers.0.blocks.1.";
  EXPECT_EQ(optimizer_group(block + "attention.self.query.weight"), decay);
  EXPECT_EQ(optimizer_group(block + "attention.self.logit_scale"), decay);
  EXPECT_EQ(optimizer_group("residual_blocks.0.0.weight"), decay);
  EXPECT_EQ(optimizer_group("residual_blocks.0.0.bn1.weight"), decay);  // no layer norm: the reference decays it
  EXPECT_EQ(optimizer_group("embeddings.position_embeddings"), decay);
  EXPECT_EQ(optimizer_group(block + "attention.self.continuous_position_bias_mlp.2.weight"), no_decay);
  EXPECT_EQ(optimizer_group(block + "intermediate.dense.bias"), no_decay);
  EXPECT_EQ(optimizer_group(block + "layernorm_before.weight"), no_decay);
  EXPECT_EQ(optimizer_group(block + "layernorm_before.weight.weight"), no_decay);
  EXPECT_EQ(optimizer_group("decoder.layers.0.upsample.norm.weight"), no_decay);
}

TEST(OptimizerGroups, OfFineTuningTakeTheirParametersFromTheOthers) {
  using enum OptimizerGroup;
  const FineTuningGroups both{.embedding_recovery = true, .time_conditioning = true}, time{.time_conditioning = true};
  EXPECT_EQ(optimizer_group("patch_recovery.projection.bias", both), embedding_recovery);
  EXPECT_EQ(optimizer_group("embeddings.norm.bias.weight", both), embedding_recovery);
  EXPECT_EQ(optimizer_group("embeddings.norm.bias.weight", time), time_conditioning);
  EXPECT_EQ(optimizer_group("residual_blocks.0.0.norm.weight.bias", both), time_conditioning);
  EXPECT_EQ(optimizer_group("residual_blocks.0.0.pwconv1.weight", both), decay);
}

}  // namespace
}  // namespace trident
