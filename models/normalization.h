/// Physical fields <-> the model's numbers. Not recorded on the tape.
#pragma once

#include <span>

#include "models/problem.h"
#include "runtime/tensor/tensor.h"

namespace trident {

/// (x - shift - mean) / std per channel, in the number type of x (f32 or f64), as a new tensor.
/// x: (..., channel, y, x). Throws ShapeError if the channels do not fit.
Tensor normalize(const Tensor& x, const std::vector<Channel>& channels);
/// The inverse.
Tensor denormalize(const Tensor& x, const std::vector<Channel>& channels);
/// The same, in place on one field of `points` f32 values: what the data loader does.
void normalize_field(const Channel& channel, std::span<float> values);

/// Masked channels of physical fields (..., channel, y, x), in place, become the constant that the loader gives them.
void fill_masked_channels(const Tensor& x, const std::vector<Channel>& channels);

}  // namespace trident
