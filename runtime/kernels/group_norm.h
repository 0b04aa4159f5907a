/// Normalisation of the groups of channels of each sample by their own statistics.
#pragma once

#include "runtime/kernels/dispatch.h"
#include "runtime/kernels/wide.h"

namespace trident {

struct GroupExtents {
  std::int64_t batch = 0, groups = 0, channels = 0, points = 0;  // channels: of a group
  bool per_sample = false;                                       // scale and shift are (batch, channel), else (channel,)
};
template <class T>
struct GroupAffine {
  const Wide<T>*scale = nullptr, *shift = nullptr;  // null: 1 and 0
};
/// Where gradients go; null where not wanted.
template <class T>
struct GroupGradients {
  T* x = nullptr;
  Wide<T>*scale = nullptr, *shift = nullptr;
};

/// y = (x - mean) rstd scale + shift; `mean` and `rstd` (batch, group) receive what is needed to go backward.
template <class T>
void group_norm(Cpu, const GroupExtents&, double eps, GroupAffine<T>, const T* x, T* y, Wide<T>* mean, Wide<T>* rstd);
template <class T>
void group_norm(Cuda, const GroupExtents&, double eps, GroupAffine<T>, const T* x, T* y, Wide<T>* mean, Wide<T>* rstd);
template <class T>
void group_norm_gradient(Cpu, const GroupExtents&, GroupAffine<T>, const T* x, const Wide<T>* mean, const Wide<T>* rstd, const T* dy,
                         GroupGradients<T>);
template <class T>
void group_norm_gradient(Cuda, const GroupExtents&, GroupAffine<T>, const T* x, const Wide<T>* mean, const Wide<T>* rstd, const T* dy,
                         GroupGradients<T>);

}  // namespace trident
