/// Batches that have shapes and no numbers.
#pragma once

#include "launch/data/loader.h"

namespace trident {

/// What the loader would give a rank as a whole global batch, on options.device, which is counted (runtime/device/device.h).
GlobalBatch counted_batch(const Dataset& dataset, const LoaderOptions& options);

}  // namespace trident
