/// scOT's configuration: the keys and defaults of the reference's ScOTConfig.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "runtime/config.h"

namespace trident {

enum class NonLinearity : std::uint8_t;

struct ScotConfig {
  int image_size = 224;  // points per side
  int patch_size = 4;    // points per side
  int num_channels = 3;
  int num_out_channels = 1;
  int embed_dim = 96;                                           // of level 0; doubles at each level
  std::vector<int> depths{2, 2, 6, 2};                          // blocks per level, encoder and decoder alike
  std::vector<int> num_heads{3, 6, 12, 24};                     // per level
  std::vector<ConfigValue> skip_connections{true, true, true};  // per level: number of blocks, or true for one
  int window_size = 7;                                          // tokens per side
  double mlp_ratio = 4.0;
  bool qkv_bias = true;  // the key has none in any case
  double hidden_dropout_prob = 0.0;
  double attention_probs_dropout_prob = 0.0;
  double drop_path_rate = 0.1;      // of the last block; grows linearly from 0
  std::string hidden_act = "gelu";  // a name of transformers' ACT2FN
  bool use_absolute_embeddings = false;
  double initializer_range = 0.02;
  double layer_norm_eps = 1e-5;
  int p = 1;                                                           // of the loss
  std::optional<std::vector<int>> channel_slice_list_normalized_loss;  // first channels of the groups, and the end; null: absolute loss
  std::string residual_model = "convnext";                             // convnext | resnet
  bool use_conditioning = false;                                       // on time
  bool learn_residual = false;                                         // with use_conditioning only

  static void visit(auto& self, auto& v) {
    v("image_size", self.image_size), v("patch_size", self.patch_size), v("num_channels", self.num_channels);
    v("num_out_channels", self.num_out_channels), v("embed_dim", self.embed_dim), v("depths", self.depths);
    v("num_heads", self.num_heads), v("skip_connections", self.skip_connections), v("window_size", self.window_size);
    v("mlp_ratio", self.mlp_ratio), v("qkv_bias", self.qkv_bias), v("hidden_dropout_prob", self.hidden_dropout_prob);
    v("attention_probs_dropout_prob", self.attention_probs_dropout_prob), v("drop_path_rate", self.drop_path_rate);
    v("hidden_act", self.hidden_act), v("use_absolute_embeddings", self.use_absolute_embeddings);
    v("initializer_range", self.initializer_range), v("layer_norm_eps", self.layer_norm_eps), v("p", self.p);
    v("channel_slice_list_normalized_loss", self.channel_slice_list_normalized_loss), v("residual_model", self.residual_model);
    v("use_conditioning", self.use_conditioning), v("learn_residual", self.learn_residual);
  }

  int num_levels() const { return static_cast<int>(depths.size()); }
  std::int64_t width(int level) const { return std::int64_t{embed_dim} << level; }
  /// Tokens per side at level 0.
  std::int64_t grid() const { return image_size / patch_size; }
  int skip_blocks(int level) const;
  std::int64_t mlp_width(int level) const;
  NonLinearity activation() const;
};

/// Reads the `model` section of a run file (without `type`), or a config.json of Hugging Face, whose other keys it passes over.
/// Throws ConfigError, naming key, value and what is allowed, for what cannot be built or cannot be meant.
ScotConfig read_scot_config(const ConfigValue& document);

/// Whether a document is a config.json of the reference rather than a section of a run file.
bool is_hugging_face_config(const ConfigValue& document);

/// As the reference's config.json: its keys, those of `document` that are not ours (of a config.json that was read), sorted by name.
ConfigValue hugging_face_config(const ScotConfig& config, const ConfigValue& document);

}  // namespace trident
