/// The rule that gives every weight of the scOT cases, so that a full-size model needs no file.
#pragma once

#include <string>
#include <vector>

#include "runtime/tensor/shape.h"

namespace trident::golden {

/// All elements of the tensor that the reference calls `name`, row-major: a hash of the name and the element's index.
std::vector<float> hashed_weights(const std::string& name, const Shape& shape);

}  // namespace trident::golden
