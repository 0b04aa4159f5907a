/// How a product of two labelled tensors is a product of matrices.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/ops/contraction.h"

namespace trident {

bool has_label(const std::string& labels, char label);

std::int64_t extent_of(const Operand& x, char label);
std::int64_t extent_of(const Operand& x, const std::string& labels);
/// 0: x has no such dimension.
std::int64_t stride_of(const Operand& x, char label);
/// The dimensions in the order of `labels`, which are those of x and perhaps more: of extent 1.
Tensor ordered(const Operand& x, const std::string& labels);

/// What the letters of a product of two mean.
struct Roles {
  std::string batch;    // in both and in the result
  std::string summed;   // in both alone
  std::string rows;     // in a and the result
  std::string columns;  // in b and the result
};
/// Throws ShapeError where the letters or extents do not fit.
Roles roles_of(const Operand& a, const Operand& b, const std::string& result);

/// Dimensions that every tensor that has them steps through as through one.
struct Chunk {
  std::string labels;
  std::int64_t extent = 1;
  std::int64_t a = 0, b = 0;  // strides
};

/// How a product is cut: vectors run along b's dimensions.
struct ProductLayout {
  std::vector<Chunk> batch, rows, columns, summed;  // loops, in the end
  Chunk m, n, k;
  double worth = 0.0;  // estimated share of the arithmetic's speed

  ProductLayout(const Operand& a, const Operand& b, const Roles& roles);
  std::size_t loops() const { return batch.size() + rows.size() + columns.size() + summed.size(); }
};

}  // namespace trident
