/// Patches of samples as they lie in files: a rank that shares patches reads the strided windows of its own ones and nothing else.
#pragma once

#include <cstdint>
#include <vector>

#include "launch/data/dataset.h"
#include "models/model.h"

namespace trident {

/// Inputs and labels (with a margin of one point) of `units`, counted over `samples` (numbers in the data set), in f32: of the input the
/// windows of all levels, or the patches alone. Masks are not read: patches have none. By so many threads. Throws what Dataset::read
/// throws.
Fields read_patches(const Dataset& dataset, const PatchGrid& grid, const std::vector<std::int64_t>& samples, Range units,
                    bool windows = true, int threads = 1);

}  // namespace trident
