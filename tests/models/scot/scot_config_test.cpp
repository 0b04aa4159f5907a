#include "models/scot/scot_config.h"

#include <gtest/gtest.h>

#include "runtime/error.h"
#include "tests/models/support.h"

namespace trident {
namespace {

using testing::section, testing::small_config;

std::string error_of(const std::string& yaml) {
  try {
    ConfigValue document = section(small_config());
    const ConfigValue changes = parse_yaml(yaml, "run.yaml");
    for (const auto& [key, value] : changes.entries()) document.set(key, value);
    describe_model(document, Mesh());
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}

void expect_parts(const std::string& message, const std::vector<std::string>& parts) {
  for (const std::string& part : parts) EXPECT_NE(message.find(part), std::string::npos) << part << " is not in: " << message;
}

TEST(ScotConfig, NamesKeyValueLineAndWhatIsAllowed) {
  expect_parts(error_of("image_size: 18\npatch_size: 4"), {"run.yaml:1", "model.image_size", "18", "patch_size 4", "16 or 20"});
  expect_parts(error_of("num_heads: [3, 2]"), {"model.num_heads[0]", "3 heads do not divide", "width of 4"});
  expect_parts(error_of("num_heads: [1, 2, 4]"), {"model.num_heads", "3 entries", "2 levels"});
  expect_parts(error_of("skip_connections: [1]"), {"model.skip_connections", "1 entries"});
  expect_parts(error_of("skip_connections: [1, two]"), {"model.skip_connections[1]", "\"two\""});
  expect_parts(error_of("window_size: 1"), {"model.window_size", "at least 2"});
  expect_parts(error_of("image_size: 2\npatch_size: 1"), {"model.depths", "level 1 has 1 tokens"});
  expect_parts(error_of("residual_model: unet"), {"model.residual_model", "unet", "convnext, resnet"});
  expect_parts(error_of("hidden_act: laplace"), {"model.hidden_act", "laplace", "gelu, gelu_10, "});
  expect_parts(error_of("p: 3"), {"model.p", "3", "1 (absolute errors), 2 (squared errors)"});
  expect_parts(error_of("drop_path_rate: 1.0"), {"model.drop_path_rate", "0 <= drop_path_rate < 1"});
  expect_parts(error_of("channel_slice_list_normalized_loss: [0, 3]"), {"channel_slice_list_normalized_loss[1]", "num_out_channels 2"});
  expect_parts(error_of("embed_dims: 4"), {"model.embed_dims", "unknown key", "embed_dim"});
  expect_parts(error_of("type: scott"), {"model.type", "scott", "scot"});
  expect_parts(error_of("image_size: 3\npatch_size: 4"), {"patch_size 4; choose 4"});
}

TEST(ScotConfig, RefusesSizesThatOnlyOverflow) {
  expect_parts(error_of("embed_dim: 2147483647"), {"model.embed_dim", "makes level 0 2147483647 wide"});
  expect_parts(error_of("image_size: 1000000000"), {"model.image_size", "at most 1048576"});
  expect_parts(error_of("mlp_ratio: 1e300"), {"model.mlp_ratio", "is more than 16777216"});
  expect_parts(error_of("depths: [1, 1000000000]"), {"model.depths[1]", "at most 1000"});
  expect_parts(error_of("initializer_range: .inf"), {"model.initializer_range"});
  expect_parts(error_of("layer_norm_eps: .inf"), {"model.layer_norm_eps"});
}

TEST(ScotConfig, DefaultsAreTheReferences) {
  const ScotConfig config;
  EXPECT_EQ(config.image_size, 224);
  EXPECT_EQ(config.depths, (std::vector<int>{2, 2, 6, 2}));
  EXPECT_EQ(config.drop_path_rate, 0.1);
  EXPECT_FALSE(config.channel_slice_list_normalized_loss.has_value());
}

TEST(ScotConfig, KeepsForeignKeysOfAConfigJson) {
  ConfigValue document = hugging_face_config(small_config(), ConfigValue::map());
  document.set("torch_dtype", "float32");
  document.set("transformers_version", "4.29.0");
  const ConfigValue again = describe_model(document, Mesh())->config();
  EXPECT_EQ(again.find("torch_dtype")->as_string(), "float32");
  EXPECT_EQ(again.find("transformers_version")->as_string(), "4.29.0");
  EXPECT_EQ(again.find("hidden_size")->as_integer(), 8);
  EXPECT_EQ(again.find("num_layers")->as_integer(), 2);
  EXPECT_EQ(again.find("skip_connections")->elements()[0].kind(), ConfigValue::Kind::boolean);
}

TEST(ScotConfig, ResidualNeedsConditioning) {
  ConfigValue document = section(small_config());
  document.set("learn_residual", true);
  document.set("use_conditioning", false);
  EXPECT_FALSE(describe_model(document, Mesh())->config().find("learn_residual")->as_bool());
}

}  // namespace
}  // namespace trident
