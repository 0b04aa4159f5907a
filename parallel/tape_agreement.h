/// Whether all ranks have recorded the same operations, which every exchange in the backward relies on.
#pragma once

#include "parallel/mesh.h"

namespace trident {

/// Compares the operations under `share`, in record order, over all ranks of the mesh. Collective; debug builds call it before the
/// backward. Throws CommunicationError, on every rank alike, if they differ: an operation has returned early on a rank with nothing to do.
void require_same_tape(const Mesh& mesh, const Tensor& share);

}  // namespace trident
