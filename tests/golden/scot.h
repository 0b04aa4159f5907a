/// The kinds of folders in goldens/scot.
#pragma once

#include "checkpoint/model_directory.h"
#include "models/model.h"
#include "tests/golden/golden.h"

namespace trident::golden {

/// Whether config.json is the reference's.
bool is_scot(const Folder& folder);
/// The model of config.json with the weights of model.safetensors, or, without that file, of the hashed-weight rule.
LoadedModel load_model(const Folder& folder, DType dtype, Use use, const Options& options);
/// A copy in another number type; undefined stays undefined.
Tensor on_device(const Tensor& x, DType dtype, const Options& options);

/// The order of every check.
inline constexpr DType kPrecisions[] = {DType::f64, DType::f32};

bool matches_forward(const Folder& folder);
Rows check_forward(Folder& folder, const Options& options);

bool matches_training(const Folder& folder);
Rows check_training(Folder& folder, const Options& options);

bool matches_rollout(const Folder& folder);
Rows check_rollout(Folder& folder, const Options& options);

bool matches_model_directories(const Folder& folder);
Rows check_model_directories(Folder& folder, const Options& options);

bool matches_state_dicts(const Folder& folder);
Rows check_state_dicts(Folder& folder, const Options& options);

}  // namespace trident::golden
