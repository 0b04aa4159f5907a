/// Sums. Deterministic: the order of additions depends on the shape alone, not on the number of threads. Sums of bf16 are f32.
#pragma once

#include <vector>

#include "runtime/tensor/tensor.h"

namespace trident {

/// The sum of all elements: shape (1,).
Tensor sum(const Tensor& x);
/// Sums over `dims`, which stay as extents of 1.
Tensor sum(const Tensor& x, const std::vector<int>& dims);
Tensor mean(const Tensor& x, const std::vector<int>& dims);

/// Channels [first, last) that share one term of a loss.
struct ChannelGroup {
  int first = 0, last = 0;
};

/// Per channel group, the sum of |a - b|^p (p = 1 or 2) over batch, the group's channels and all points.
/// a, b: (batch, channel, y, x); b may be undefined (zero) . Returns (groups,). Gradient to a; b is data.
Tensor error_sums(const Tensor& a, const Tensor& b, const std::vector<ChannelGroup>& groups, int p);

/// Whether every element is finite. Waits for x.
bool all_finite(const Tensor& x);

}  // namespace trident
