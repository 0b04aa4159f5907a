#include "runtime/kernels/group_norm.h"

#include "runtime/kernels/cuda/kernel.h"
#include "runtime/kernels/cuda/workspace.h"

namespace trident {
namespace {

using namespace cuda;

constexpr int kThreads = 256;

/// Of the channel of a plane (sample, channel), null where there is none.
template <class T>
__device__ __forceinline__ T affine_of(const T* values, const GroupExtents& e, std::int64_t plane, T without) {
  return values == nullptr ? without : values[e.per_sample ? plane : plane % (e.groups * e.channels)];
}

/// A group of a sample per block.
template <class T>
__global__ void group_norm_kernel(GroupExtents e, double eps, GroupAffine<T> affine, const T* x, T* y, Wide<T>* mean, Wide<T>* rstd) {
  using W = Wide<T>;
  const std::int64_t group = blockIdx.x, count = e.channels * e.points;
  const T* from = x + group * count;
  double total = 0, squares = 0;
  for (std::int64_t i = threadIdx.x; i < count; i += kThreads) total += static_cast<double>(compute(from[i]));
  const double center = block_sum<kThreads>(total) / static_cast<double>(count);
  for (std::int64_t i = threadIdx.x; i < count; i += kThreads) {
    const double distance = static_cast<double>(compute(from[i])) - center;
    squares += distance * distance;
  }
  const W inverse = static_cast<W>(1.0 / sqrt(block_sum<kThreads>(squares) / static_cast<double>(count) + eps)),
          middle = static_cast<W>(center);
  if (threadIdx.x == 0) {
    mean[group] = middle;
    rstd[group] = inverse;
  }
  for (std::int64_t i = threadIdx.x; i < count; i += kThreads) {
    const std::int64_t plane = group * e.channels + i / e.points;
    const W gain = inverse * affine_of(affine.scale, e, plane, W(1));
    y[group * count + i] = stored<T>((compute(from[i]) - middle) * gain + affine_of(affine.shift, e, plane, W(0)));
  }
}

/// A plane per block: the sums of dy, and of dy times the normalised x.
template <class T>
__global__ void plane_sums_kernel(GroupExtents e, const T* x, const Wide<T>* mean, const Wide<T>* rstd, const T* dy, double* slopes,
                                  double* alongs) {
  const std::int64_t plane = blockIdx.x, group = plane / e.channels;
  const T *source = x + plane * e.points, *slope = dy + plane * e.points;
  const Wide<T> middle = mean[group], gain = rstd[group];
  double total = 0, along = 0;
  for (std::int64_t i = threadIdx.x; i < e.points; i += kThreads) {
    const Wide<T> value = compute(slope[i]);
    total += static_cast<double>(value);
    along += static_cast<double>(value * ((compute(source[i]) - middle) * gain));
  }
  total = block_sum<kThreads>(total);
  along = block_sum<kThreads>(along);
  if (threadIdx.x != 0) return;
  slopes[plane] = total;
  alongs[plane] = along;
}

template <class T>
__global__ void affine_gradient_kernel(GroupExtents e, std::int64_t owners, const double* slopes, const double* alongs, T* dscale,
                                       T* dshift) {
  const std::int64_t i = grid_thread(), planes = e.batch * e.groups * e.channels;
  if (i >= owners) return;
  double scale = 0, shift = 0;
  for (std::int64_t plane = i; plane < planes; plane += owners) {
    scale += alongs[plane];
    shift += slopes[plane];
  }
  if (dscale != nullptr) dscale[i] = static_cast<T>(scale);
  if (dshift != nullptr) dshift[i] = static_cast<T>(shift);
}

template <class T>
__global__ void input_gradient_kernel(GroupExtents e, GroupAffine<T> affine, const T* x, const Wide<T>* mean, const Wide<T>* rstd,
                                      const T* dy, const double* slopes, const double* alongs, T* dx) {
  using W = Wide<T>;
  const std::int64_t group = blockIdx.x, first = group * e.channels;
  double total = 0, along = 0;
  for (std::int64_t plane = first; plane < first + e.channels; ++plane) {
    const double gain = static_cast<double>(affine_of(affine.scale, e, plane, W(1)));
    total += gain * slopes[plane];
    along += gain * alongs[plane];
  }
  const double count = static_cast<double>(e.channels * e.points);
  const W mean_slope = static_cast<W>(total / count), mean_along = static_cast<W>(along / count), middle = mean[group],
          inverse = rstd[group];
  for (std::int64_t i = threadIdx.x; i < e.channels * e.points; i += kThreads) {
    const std::int64_t at = first * e.points + i;
    const W gain = affine_of(affine.scale, e, first + i / e.points, W(1));
    dx[at] = stored<T>(inverse * (gain * compute(dy[at]) - mean_slope - (compute(x[at]) - middle) * inverse * mean_along));
  }
}

dim3 blocks(std::int64_t count) { return dim3(static_cast<unsigned>(count)); }

}  // namespace

template <class T>
void group_norm(Cuda device, const GroupExtents& e, double eps, GroupAffine<T> affine, const T* x, T* y, Wide<T>* mean, Wide<T>* rstd) {
  launch_kernel(group_norm_kernel<T>, blocks(e.batch * e.groups), dim3(kThreads), 0, device, e, eps, affine, x, y, mean, rstd);
}

template <class T>
void group_norm_gradient(Cuda device, const GroupExtents& e, GroupAffine<T> affine, const T* x, const Wide<T>* mean, const Wide<T>* rstd,
                         const T* dy, GroupGradients<T> to) {
  const std::int64_t width = e.groups * e.channels, planes = e.batch * width, owners = e.per_sample ? planes : width;
  const Block memory = workspace(device, static_cast<std::size_t>(2 * planes) * sizeof(double));
  double *slopes = static_cast<double*>(memory.data()), *alongs = slopes + planes;
  launch_kernel(plane_sums_kernel<T>, blocks(planes), dim3(kThreads), 0, device, e, x, mean, rstd, dy, slopes, alongs);
  if (to.scale != nullptr || to.shift != nullptr) {
    launch_kernel(affine_gradient_kernel<Wide<T>>, blocks(divided_up<std::int64_t>(owners, kThreads)), dim3(kThreads), 0, device, e, owners,
                  slopes, alongs, to.scale, to.shift);
  }
  if (to.x == nullptr) return;
  launch_kernel(input_gradient_kernel<T>, blocks(e.batch * e.groups), dim3(kThreads), 0, device, e, affine, x, mean, rstd, dy, slopes,
                alongs, to.x);
}

#define TRIDENT_GROUP_NORM(T)                                                                                                         \
  template void group_norm<T>(Cuda, const GroupExtents&, double, GroupAffine<T>, const T*, T*, Wide<T>*, Wide<T>*);                   \
  template void group_norm_gradient<T>(Cuda, const GroupExtents&, GroupAffine<T>, const T*, const Wide<T>*, const Wide<T>*, const T*, \
                                       GroupGradients<T>);
TRIDENT_GROUP_NORM(float)
TRIDENT_GROUP_NORM(double)
TRIDENT_GROUP_NORM(bf16)

}  // namespace trident
