/// Applying a model to its own output.
#pragma once

#include <functional>
#include <vector>

#include "models/model.h"

namespace trident {

/// n equal parts of the lead time.
std::vector<double> equal_steps(std::int64_t n);

/// Calls the model once for each part of `fields.time` in `fractions`; outputs feed back as inputs, and input channels past the outputs'
/// are carried along. `label` and `pixel_mask` hold in every step. `visit` receives each step's index and output.
/// Throws ConfigError if several steps are asked of a model with fewer input than output channels.
void roll_out(const Model& model, const Prepared& prepared, Fields fields, const std::vector<double>& fractions, const Pass& pass,
              const std::function<void(std::size_t step, const Tensor& output)>& visit);

}  // namespace trident
