/// Multi-grid windows of patches that ranks share out: each rank has some patches, and gets from the others what its windows see of theirs.
#pragma once

#include "models/model.h"
#include "parallel/mesh.h"

namespace trident {

/// patches: (own unit, channel, rows, columns) -> (own unit, (levels + 1) * channel, window rows, window columns), as multigrid_patches()
/// cuts them from whole fields. Units lie on the ranks of data and domain as part_of() says. Collective.
Tensor exchanged_windows(const Tensor& patches, const PatchGrid& grid, const PatchUnits& own, const Mesh& mesh);

}  // namespace trident
