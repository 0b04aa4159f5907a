/// Kernels that add many numbers to few. The order of additions depends on the extents alone: blocks of fixed size are summed, then the
/// blocks in order. f32 is added up in f64.
#pragma once

#include "runtime/kernels/dispatch.h"
#include "runtime/kernels/wide.h"

namespace trident {

struct ChannelGroup;  // runtime/ops/reduce.h

/// x (outer, count, inner) summed over count.
struct SumExtents {
  std::int64_t outer, count, inner;
};
/// Numbers of f64 workspace that the sum needs.
std::int64_t sum_workspace(const SumExtents& extents);
template <class T>
void sum_middle(Cpu, const SumExtents&, const T* x, double* workspace, Wide<T>* y);
template <class T>
void sum_middle(Cuda, const SumExtents&, const T* x, double* workspace, Wide<T>* y);

/// Fields (batch, channel, point) and the groups of channels whose errors are added.
struct ErrorExtents {
  std::int64_t batch, channels, points;
  const ChannelGroup* groups;
  std::int64_t num_groups;
  int power;  // 1 or 2
};
std::int64_t error_workspace(const ErrorExtents& extents);
/// sums (groups,): of |a - b|^power; b null: 0.
template <class T>
void error_sums(Cpu, const ErrorExtents&, const T* a, const T* b, double* workspace, T* sums);
template <class T>
void error_sums(Cuda, const ErrorExtents&, const T* a, const T* b, double* workspace, T* sums);
/// da from dsums (groups,).
template <class T>
void error_sums_gradient(Cpu, const ErrorExtents&, const T* a, const T* b, const T* dsums, T* da);
template <class T>
void error_sums_gradient(Cuda, const ErrorExtents&, const T* a, const T* b, const T* dsums, T* da);

template <class T>
void all_finite(Cpu, std::int64_t count, const T* x, bool* finite);
template <class T>
void all_finite(Cuda, std::int64_t count, const T* x, bool* finite);

}  // namespace trident
