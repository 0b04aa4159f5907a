/// Element-wise moves between strided arrays of up to 8 dimensions.
#pragma once

#include "runtime/kernels/dispatch.h"

namespace trident {

/// Extents, and the strides (in elements) of both sides; the last dimension is the innermost.
struct StridedPair {
  Shape shape, target_strides, source_strides;
};

/// target = convert<To>(source), or target += source.
template <class To, class From>
void strided_copy(Cpu, const StridedPair&, To* target, const From* source);
template <class To, class From>
void strided_copy(Cuda, const StridedPair&, To* target, const From* source);
template <class T>
void strided_add(Cpu, const StridedPair&, T* target, const T* source);
template <class T>
void strided_add(Cuda, const StridedPair&, T* target, const T* source);

}  // namespace trident
