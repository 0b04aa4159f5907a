/// Names and shapes of tensors in neuraloperator's state dicts: those of today, which are ours, and those of 0.3.0.
#pragma once

#include <vector>

#include "checkpoint/safetensors_writer.h"
#include "checkpoint/weight_files.h"
#include "runtime/config.h"

namespace trident {

enum class NeuralopLayout {
  current,  // one convolution a layer, complex numbers
  v0_3      // one module of convolutions for all layers, complex numbers real with a last dimension of 2; The Well's files too
};

/// By the names. Tensors of other models count as of today, and are then surplus.
NeuralopLayout neuralop_layout(const std::vector<StoredTensor>& tensors);

/// The tensors under our names, in our shapes. `config` is ours. Every tensor of the file becomes one or, if it belongs to several layers,
/// one a layer; those that no rule knows keep their names, so that whoever compares them with a model finds them surplus. A joint
/// factorisation of all layers becomes one a layer: the layers' factor is multiplied into what it stands before.
/// Throws CheckpointError where a tensor has another shape than its layers need.
std::vector<StoredTensor> from_neuralop(std::vector<StoredTensor> tensors, NeuralopLayout layout, const ConfigValue& config);

/// The inverse: our tensors under the names and in the shapes of `layout`, each made of ours when its turn has come; undefined where those
/// are.
std::vector<LateTensor> to_neuralop(const std::vector<LateTensor>& tensors, NeuralopLayout layout, const ConfigValue& config);

}  // namespace trident
