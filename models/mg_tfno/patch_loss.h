/// The loss of whole fields whose patches ranks share out: differences cross the patches' borders, sums over the ranks come before roots.
#pragma once

#include "models/model.h"
#include "parallel/mesh.h"

namespace trident {

/// (unit, channel, rows + 2, columns + 2) -> (unit, channel, rows, columns).
Tensor without_margin(const Tensor& label);

/// The terms (sample, channel) of all samples, on every rank of data and domain, from this rank's patches of the output (unit, channel,
/// rows, columns). Derivatives (h1) take one point of the error from each side's patch; where other ranks hold it, that alone travels.
/// Throws ConfigError for fields that are not periodic and patches of fewer than 4 points. Collective.
Tensor stitched_norm_terms(const NormLoss& norm, const PatchLoss& patches, const Tensor& output, const Fields& fields, const Mesh& mesh);

/// Numbers of the error's borders that this rank sends in one direction for `channels` channels: a row for each unit of another rank above
/// or below one of its own, a column for each beside one.
std::int64_t border_numbers_sent(const PatchLoss& patches, const Fields& fields, std::int64_t channels, const Mesh& mesh);

}  // namespace trident
