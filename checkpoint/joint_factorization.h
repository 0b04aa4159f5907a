/// One factorised tensor for the weights of all layers, as neuraloperator 0.3.0 could store them.
#pragma once

#include <vector>

#include "checkpoint/weight_files.h"
#include "runtime/config.h"

namespace trident {

/// Takes the tensors of a joint factorisation (fno_blocks.convs.weight.core, .factors.factor_k, ...) out of `tensors` and returns those of
/// one factorisation a layer, under today's names: the row of the layers' factor that belongs to a layer is multiplied into the core
/// (Tucker), the weights (CP) or the next factor (tensor train); the other factors are the same for all layers. Returns nothing, and leaves
/// `tensors` as they are, if there is none. Throws CheckpointError for parts that do not belong together.
std::vector<StoredTensor> take_joint_factorization(std::vector<StoredTensor>& tensors);

/// The rank of each of those layers, as our configuration takes it; null if there is no joint factorisation.
ConfigValue rank_of_joint_factorization(const std::vector<StoredTensor>& tensors);

}  // namespace trident
