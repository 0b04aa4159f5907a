/// Contractions of complex tensors, named by the letters of their dimensions as einsum does.
#pragma once

#include <string>
#include <vector>

#include "runtime/tensor/tensor.h"

namespace trident {

struct Operand {
  Tensor tensor;       // c64 or c128
  std::string labels;  // one letter per dimension
};

/// The sum over all letters that `result` lacks of the product of two tensors. A letter stands once in a tensor; one that `result` lacks
/// stands in both. The result's dimensions may lie in memory in another order.
Tensor contract(const Operand& a, const Operand& b, const std::string& result);

/// Of any number of tensors, two at a time, in the order that multiplies least; at most 12.
Tensor contract(const std::vector<Operand>& operands, const std::string& result);

}  // namespace trident
