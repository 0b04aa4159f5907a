/// A model whose predictions on a GPU are captured: hundreds of kernels are launched as one graph.
#pragma once

#include "models/model.h"

namespace trident {

/// The model, whose calls in evaluation run as one graph for each shape of fields, from the second time that it is met; the last few shapes
/// are kept. Same numbers, in tensors that belong to the caller. Without a GPU, and where ranks compute together: the model as it is.
/// Used by one thread.
Model captured(const Model& model, const Mesh& mesh, Device device);

}  // namespace trident
