/// Small models for tests.
#pragma once

#include "models/model.h"
#include "models/scot/scot_config.h"
#include "parallel/domain.h"

namespace trident::testing {

/// A model of 8x8 tokens with shifted windows and a convolutional skip.
inline ScotConfig small_config() {
  ScotConfig config;
  config.image_size = 16, config.patch_size = 2, config.num_channels = 2, config.num_out_channels = 2;
  config.embed_dim = 4, config.depths = {2, 1}, config.num_heads = {1, 2}, config.skip_connections = {true, false};
  config.window_size = 4, config.drop_path_rate = 0.0, config.use_conditioning = true;
  config.channel_slice_list_normalized_loss = std::vector<int>{0, 1, 2};
  return config;
}

/// As the model section of a run file.
inline ConfigValue section(const ScotConfig& config) {
  ConfigValue document = write_config(config);
  document.set("type", "scot");
  return document;
}

struct SmallModel {
  Model model;
  ParameterList parameters;
};

/// With weights large enough that every part matters.
inline SmallModel make_model(ScotConfig config, DType dtype = DType::f64, Use use = Use::training) {
  config.initializer_range = 0.3;
  SmallModel result{describe_model(section(config), Mesh()), {}};
  result.parameters = materialize(result.model, dtype, use, RandomKey(3));
  return result;
}

/// The only level of a grid of tokens that one rank has alone.
inline WindowLevel level_alone(std::int64_t samples, const WindowedGrid& grid) {
  return WindowPyramid(Domain(Mesh()), {grid}).levels(samples)->front();
}

inline Pass pass_of(DType dtype, Mode mode = Mode::eval) {
  Pass pass;
  pass.precision = dtype;
  pass.mode = mode;
  return pass;
}

}  // namespace trident::testing
