/// Tensors that are split over ranks, put together on the first rank, one at a time.
#pragma once

#include "parallel/parameter.h"

namespace trident {

/// The whole tensor of which `piece` is this rank's part, on the first rank; undefined on the others. Collective over the mesh, which must
/// not be communicating.
Tensor gathered_tensor(const NamedPiece& piece, const Mesh& mesh);

}  // namespace trident
