/// Whether all ranks have recorded the same operations, which every exchange in the backward relies on.
#pragma once

#include "parallel/mesh.h"

namespace trident {

/// Debug builds check before every backward.
#ifdef NDEBUG
inline constexpr bool kCheckTapes = false;
#else
inline constexpr bool kCheckTapes = true;
#endif

/// Compares the operations under `share`, in record order, over all ranks of the mesh; with domain ranks over those of one data
/// coordinate, because the others' number of samples may call for other exchanges. Collective; debug builds call it before the backward.
/// Throws CommunicationError, on every rank alike, if they differ: an operation has returned early on a rank with nothing to do.
void require_same_tape(const Mesh& mesh, const Tensor& share);

}  // namespace trident
