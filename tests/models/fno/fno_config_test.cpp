#include "models/fno/fno_config.h"

#include <gtest/gtest.h>

#include "runtime/error.h"

namespace trident {
namespace {

ConfigValue keys(const std::string& more = "") {
  return parse_yaml("{n_modes: [8, 6], in_channels: 1, out_channels: 1, hidden_channels: 6" + (more.empty() ? "" : ", " + more) + "}",
                    "run.yaml");
}

std::string error_of(const std::string& more) {
  try {
    read_fno_config(keys(more));
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}

TEST(FnoConfig, HasTheReferencesDefaults) {
  const FnoConfig config = read_fno_config(keys());
  EXPECT_EQ(config.lifting_width(), 12);
  EXPECT_EQ(config.projection_width(), 12);
  EXPECT_EQ(config.mlp_width(), 3);
  EXPECT_EQ(config.spectral_factorization(), Factorization::dense);
  EXPECT_EQ(config.scaling(), std::vector<std::vector<double>>(4, {1.0, 1.0}));
  EXPECT_TRUE(config.padding().empty());
}

TEST(FnoConfig, TfnoIsTuckerWithATenthOfTheParameters) {
  const FnoConfig config = read_fno_config(with_tfno_defaults(keys()));
  EXPECT_EQ(config.spectral_factorization(), Factorization::tucker);
  EXPECT_EQ(config.spectral_rank(), RankChoice(0.1));
  EXPECT_EQ(read_fno_config(with_tfno_defaults(keys("rank: 3, factorization: CP"))).spectral_rank(), RankChoice(std::int64_t{3}));
}

TEST(FnoConfig, RoundsAsPythonDoes) {
  EXPECT_EQ(read_fno_config(keys("lifting_channel_ratio: 1.99")).lifting_width(), 11);  // int(11.94)
  EXPECT_EQ(read_fno_config(keys("channel_mlp_expansion: 0.75")).mlp_width(), 4);       // round(4.5)
  EXPECT_EQ(read_fno_config(keys("lifting_channels: 256, lifting_channel_ratio: 2")).lifting_width(), 256);
}

TEST(FnoConfig, ScalesEachLayerAndDimension) {
  const FnoConfig config = read_fno_config(keys("n_layers: 2, resolution_scaling_factor: [[1, 2], 0.5]"));
  EXPECT_EQ(config.scaling(), (std::vector<std::vector<double>>{{1.0, 2.0}, {0.5, 0.5}}));
  EXPECT_EQ(read_fno_config(keys("domain_padding: 0.25")).padding(), (std::vector<double>{0.25, 0.25}));
}

TEST(FnoConfig, SaysWhatCannotBeBuilt) {
  for (const auto& [more, expected] : std::vector<std::pair<std::string, std::string>>{
           {"n_layers: 0", "model.n_layers: 0 is impossible"},
           {"norm: group_norm, norm_groups: 4", "4 groups do not divide hidden_channels 6"},
           {"fno_skip: identity, conv_bias_kernel: 3", "conv_bias_kernel: 3 is a convolution"},
           {"fno_skip: diagonal", "\"diagonal\" is not one of them"},
           {"resolution_scaling_factor: [2]", "has 1 entries, but there are 4 layers"},
           {"resolution_scaling_factor: 0", "0 is not a factor above 0"},
           {"domain_padding: [0.1]", "has 1 entries, n_modes has 2"},
           {"domain_padding: wide", "expected a fraction of the field"},
           {"max_n_modes: [8, 3]", "max_n_modes[1]: 3 is less than the 4 modes that n_modes 6 uses"},
           {"factorization: svd", "\"svd\" is not one of them"},
           {"rank: -1", "-1 is not above 0"},
           {"rank: all", "expected a share of the dense weight"},
           {"fno_block_precision: mixed", "\"mixed\" is not computed here"},
           {"channel_mlp_dropout: 1", "1 is not a probability below 1"},
           {"channel_mlp_expansion: 0.01", "rounds to no channel"},
           {"lifting_channel_ratio: 0.1", "is less than one channel"},
           {"projection_channel_ratio: .inf", "it must be at most 1000000"},
           {"resolution_scaling_factor: 1e18", "it must be at most 1000000"},
           {"conv_bias_kernel: 2147483647", "model.conv_bias_kernel: 2147483647 is more than 1048576"},
           {"stabilizer: sin", "\"sin\" is not one of them"},
           {"non_linearity: sine", "gelu"},
           {"hidden_chanels: 3", "hidden_channels"}}) {
    EXPECT_NE(error_of(more).find(expected), std::string::npos) << more << ": " << error_of(more);
  }
  try {
    read_fno_config(parse_yaml("{n_modes: [8, 6], in_channels: 1, out_channels: 1}", "run.yaml"));
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_NE(std::string(error.what()).find("model.hidden_channels: is missing"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace trident
