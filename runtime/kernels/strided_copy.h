/// Element-wise moves between strided arrays of up to 8 dimensions, and filling with one number.
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
/// y (count,), each `value`.
template <class T>
void fill(Cpu, std::int64_t count, double value, T* y);
template <class T>
void fill(Cuda, std::int64_t count, double value, T* y);

}  // namespace trident
