/// Norms of fields whose rectangles the domain ranks share.
#pragma once

#include "models/norm_loss.h"
#include "parallel/mesh.h"

namespace trident {

/// The terms (sample, channel) of whole fields, on every domain rank, from this rank's rectangles of output and label (sample, channel,
/// space...). h1 exchanges one point of the error and of the label with the ranks on each side, wrapped where the field is periodic.
/// Throws ConfigError where one-sided differences need more points than a rank has. Collective over domain_y and domain_x.
Tensor split_norm_terms(const NormLoss& norm, const Tensor& output, const Tensor& label, const Mesh& mesh);

}  // namespace trident
