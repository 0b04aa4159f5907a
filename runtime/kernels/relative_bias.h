/// Numbers per relative position spread over pairs of tokens.
#pragma once

#include "runtime/kernels/dispatch.h"

namespace trident {

struct RelativeBiasSize {
  std::int64_t positions = 0, heads = 0, pairs = 0;
};
/// y (heads, pairs) = table (positions, heads) at index (pairs,), which lies in [0, positions).
template <class T>
void relative_bias(Cpu, RelativeBiasSize, const T* table, const std::int64_t* index, T* y);
template <class T>
void relative_bias(Cuda, RelativeBiasSize, const T* table, const std::int64_t* index, T* y);
/// dtable (positions, heads) = the sums of dy over the pairs of each position, in an order that depends on the sizes alone.
template <class T>
void relative_bias_gradient(Cpu, RelativeBiasSize, const T* dy, const std::int64_t* index, T* dtable);
template <class T>
void relative_bias_gradient(Cuda, RelativeBiasSize, const T* dy, const std::int64_t* index, T* dtable);

}  // namespace trident
