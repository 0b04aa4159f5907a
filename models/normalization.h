/// Physical fields <-> the model's numbers. Nothing here is recorded on the tape.
#pragma once

#include <span>
#include <vector>

#include "models/problem.h"
#include "runtime/tensor/tensor.h"

namespace trident {

/// (x - shift - mean) / std per channel, as a new tensor on the host in the number type of x (f32, f64, c64 or c128; only complex numbers
/// have the means' imaginary parts).
/// x: (..., channel, space...) with `dims` axes of space. Throws ShapeError if the channels do not fit.
Tensor normalize(const Tensor& x, const std::vector<Channel>& channels, int dims = 2);
/// The inverse.
Tensor denormalize(const Tensor& x, const std::vector<Channel>& channels, int dims = 2);
/// normalize() of one channel's values, in place; of complex ones as pairs of real and imaginary part.
void normalize_values(const Channel& channel, std::span<float> values);
void normalize_pairs(const Channel& channel, std::span<float> values);

/// Masked channels of contiguous physical fields (..., channel, space...) become the constant that the data loader gives them, in place.
void fill_masked_channels(const Tensor& x, const std::vector<Channel>& channels, int dims = 2);

}  // namespace trident
