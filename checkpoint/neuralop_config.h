/// The arguments of neuraloperator's FNO and TFNO, of today and of 0.3.0, and The Well's config.json, as our configuration.
#pragma once

#include <string>
#include <vector>

#include "checkpoint/neuralop_names.h"
#include "runtime/config.h"

namespace trident {

/// Whether a config.json is one that The Well publishes for its Fourier neural operators.
bool is_the_well_config(const ConfigValue& config);

/// `arguments`: what the package stores of a model ({name}_metadata.pkl, "_metadata"), or The Well's config.json. `tensors`: theirs, which
/// say what the arguments do not. Keys that both know keep their values, so whoever builds the model judges them. Throws CheckpointError,
/// beginning with `where`, for other models and for arguments without a meaning here.
ConfigValue config_from_neuralop(const ConfigValue& arguments, NeuralopLayout layout, const std::vector<StoredTensor>& tensors,
                                 const std::string& where);

/// The layout in which the package's version that computes such a model stores it.
NeuralopLayout neuralop_layout_for(const ConfigValue& config);

/// The inverse, for {name}_metadata.pkl: plain values only. Throws CheckpointError, beginning with `where`, for what the package lacks.
ConfigValue arguments_for_neuralop(const ConfigValue& config, const std::string& where);

}  // namespace trident
