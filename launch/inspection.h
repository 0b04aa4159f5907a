/// What is in a file or a folder, as a document: models, checkpoints, tensors, data sets, runs.
#pragma once

#include <filesystem>

#include "runtime/config.h"

namespace trident {

/// with_statistics reads every number, without reads headers alone.
enum class Detail { headers, with_statistics };

/// A map with "kind" (model, checkpoint, tensors, data set, data sets, run), "path", sizes, and lists of "tensors" or "variables" with
/// name, shape and type. Throws CheckpointError or DataError if the path is nothing of these, or damaged.
ConfigValue inspection_of(const std::filesystem::path& path, Detail detail);

}  // namespace trident
