#include "runtime/kernels/group_norm.h"

#include "runtime/kernels/cuda/plane_sums.h"

namespace trident {
namespace {

using namespace cuda;

constexpr int kThreads = 256;

/// Of the channel of a plane (sample, channel), null where there is none.
template <class T>
__device__ __forceinline__ T affine_of(const T* values, const GroupExtents& e, std::int64_t plane, T without) {
  return values == nullptr ? without : values[e.per_sample ? plane : plane % (e.groups * e.channels)];
}

/// The groups of all samples, and the fields of all channels.
__host__ __device__ Planes groups_of(const GroupExtents& e) { return {e.batch * e.groups, e.channels * e.points}; }
__host__ __device__ Planes fields_of(const GroupExtents& e) { return {e.batch * e.groups * e.channels, e.points}; }

/// Of every group: the sum of x, or of squares of its distance from the mean, where the sums (groups,) of x are given.
template <class T>
__global__ void __launch_bounds__(kPlaneThreads) group_sums_kernel(GroupExtents e, const T* x, const double* sums, PlaneSums<double> to) {
  const Planes groups = groups_of(e);
  add_up_planes<1>(groups, to, [=](std::int64_t group) {
    const double center = sums == nullptr ? 0.0 : sums[group] / static_cast<double>(groups.points);
    return [=, from = x + group * groups.points](std::int64_t i, double(&total)[1]) {
      const double distance = static_cast<double>(compute(from[i])) - center;
      total[0] += sums == nullptr ? distance : distance * distance;
    };
  });
}

template <class W>
__global__ void statistics_kernel(Planes groups, double eps, const double* sums, const double* squares, W* mean, W* rstd) {
  const std::int64_t group = grid_thread();
  if (group >= groups.count) return;
  const auto count = static_cast<double>(groups.points);
  mean[group] = static_cast<W>(sums[group] / count);
  rstd[group] = static_cast<W>(1.0 / sqrt(squares[group] / count + eps));
}

template <class T>
__global__ void __launch_bounds__(kPlaneThreads)
    group_norm_kernel(GroupExtents e, GroupAffine<T> affine, const T* x, const Wide<T>* mean, const Wide<T>* rstd, T* y) {
  using W = Wide<T>;
  for_each_part(fields_of(e), [=](std::int64_t plane, std::int64_t, std::int64_t first, std::int64_t last) {
    const W middle = mean[plane / e.channels], gain = rstd[plane / e.channels] * affine_of(affine.scale, e, plane, W(1)),
            shift = affine_of(affine.shift, e, plane, W(0));
    const std::int64_t start = plane * e.points;
    for (std::int64_t i = start + first + threadIdx.x; i < start + last; i += kPlaneThreads)
      y[i] = stored<T>((compute(x[i]) - middle) * gain + shift);
  });
}

/// Of every field: the sums of dy, and of dy times the normalised x.
template <class T>
__global__ void __launch_bounds__(kPlaneThreads)
    field_sums_kernel(GroupExtents e, const T* x, const Wide<T>* mean, const Wide<T>* rstd, const T* dy, PlaneSums<double> to) {
  add_up_planes<2>(fields_of(e), to, [=](std::int64_t plane) {
    const std::int64_t start = plane * e.points;
    const Wide<T> middle = mean[plane / e.channels], gain = rstd[plane / e.channels];
    return [=](std::int64_t i, double(&totals)[2]) {
      const Wide<T> slope = compute(dy[start + i]);
      totals[0] += static_cast<double>(slope);
      totals[1] += static_cast<double>(slope * ((compute(x[start + i]) - middle) * gain));
    };
  });
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

/// A warp for each group: means (groups, 2) of its gradient before the affine part, and of that times the normalised x.
template <class T>
__global__ void __launch_bounds__(kThreads)
    group_means_kernel(GroupExtents e, GroupAffine<T> affine, const double* slopes, const double* alongs, Wide<T>* means) {
  const std::int64_t group = grid_thread() / kWarp, lane = threadIdx.x % kWarp;
  if (group >= e.batch * e.groups) return;
  double total = 0, along = 0;
  for (std::int64_t plane = group * e.channels + lane; plane < (group + 1) * e.channels; plane += kWarp) {
    const double gain = static_cast<double>(affine_of(affine.scale, e, plane, Wide<T>(1)));
    total += gain * slopes[plane];
    along += gain * alongs[plane];
  }
  total = warp_sum(total);
  along = warp_sum(along);
  if (lane != 0) return;
  const double count = static_cast<double>(e.channels * e.points);
  means[2 * group] = static_cast<Wide<T>>(total / count);
  means[2 * group + 1] = static_cast<Wide<T>>(along / count);
}

template <class T>
__global__ void __launch_bounds__(kPlaneThreads)
    input_gradient_kernel(GroupExtents e, GroupAffine<T> affine, const T* x, const Wide<T>* mean, const Wide<T>* rstd, const T* dy,
                          const Wide<T>* means, T* dx) {
  using W = Wide<T>;
  for_each_part(fields_of(e), [=](std::int64_t plane, std::int64_t, std::int64_t first, std::int64_t last) {
    const std::int64_t group = plane / e.channels, start = plane * e.points;
    const W middle = mean[group], inverse = rstd[group], mean_slope = means[2 * group], mean_along = means[2 * group + 1],
            gain = affine_of(affine.scale, e, plane, W(1));
    for (std::int64_t i = start + first + threadIdx.x; i < start + last; i += kPlaneThreads)
      dx[i] = stored<T>(inverse * (gain * compute(dy[i]) - mean_slope - (compute(x[i]) - middle) * inverse * mean_along));
  });
}

unsigned blocks_of(std::int64_t threads) { return static_cast<unsigned>(divided_up<std::int64_t>(threads, kThreads)); }

}  // namespace

template <class T>
void group_norm(Cuda device, const GroupExtents& e, double eps, GroupAffine<T> affine, const T* x, T* y, Wide<T>* mean, Wide<T>* rstd) {
  const Planes groups = groups_of(e), fields = fields_of(e);
  const Block memory = workspace(device, static_cast<std::size_t>(2 * groups.count) * sizeof(double));
  double *sums = static_cast<double*>(memory.data()), *squares = sums + groups.count, *const none = nullptr;
  for (double* target : {sums, squares}) {
    sums_of_planes<1>(device, groups, target, none, [&](const auto& to) {
      launch_kernel(group_sums_kernel<T>, blocks_for(groups), kPlaneThreads, 0, device, e, x, target == sums ? none : sums, to);
    });
  }
  launch_kernel(statistics_kernel<Wide<T>>, blocks_of(groups.count), kThreads, 0, device, groups, eps, sums, squares, mean, rstd);
  launch_kernel(group_norm_kernel<T>, blocks_for(fields), kPlaneThreads, 0, device, e, affine, x, mean, rstd, y);
}

template <class T>
void group_norm_gradient(Cuda device, const GroupExtents& e, GroupAffine<T> affine, const T* x, const Wide<T>* mean, const Wide<T>* rstd,
                         const T* dy, GroupGradients<T> to) {
  const Planes fields = fields_of(e);
  const std::int64_t groups = e.batch * e.groups, owners = e.per_sample ? fields.count : e.groups * e.channels;
  const Block memory = workspace(device, static_cast<std::size_t>(2 * fields.count) * sizeof(double));
  double *slopes = static_cast<double*>(memory.data()), *alongs = slopes + fields.count;
  sums_of_planes<2>(device, fields, slopes, alongs, [&](const auto& to) {
    launch_kernel(field_sums_kernel<T>, blocks_for(fields), kPlaneThreads, 0, device, e, x, mean, rstd, dy, to);
  });
  if (to.scale != nullptr || to.shift != nullptr) {
    launch_kernel(affine_gradient_kernel<Wide<T>>, blocks_of(owners), kThreads, 0, device, e, owners, slopes, alongs, to.scale, to.shift);
  }
  if (to.x == nullptr) return;
  const Block means_memory = workspace(device, static_cast<std::size_t>(2 * groups) * sizeof(Wide<T>));
  auto* means = static_cast<Wide<T>*>(means_memory.data());
  launch_kernel(group_means_kernel<T>, blocks_of(groups * kWarp), kThreads, 0, device, e, affine, slopes, alongs, means);
  launch_kernel(input_gradient_kernel<T>, blocks_for(fields), kPlaneThreads, 0, device, e, affine, x, mean, rstd, dy, means, to.x);
}

#define TRIDENT_GROUP_NORM(T)                                                                                                         \
  template void group_norm<T>(Cuda, const GroupExtents&, double, GroupAffine<T>, const T*, T*, Wide<T>*, Wide<T>*);                   \
  template void group_norm_gradient<T>(Cuda, const GroupExtents&, GroupAffine<T>, const T*, const Wide<T>*, const Wide<T>*, const T*, \
                                       GroupGradients<T>);
TRIDENT_GROUP_NORM(float)
TRIDENT_GROUP_NORM(double)
TRIDENT_GROUP_NORM(bf16)

}  // namespace trident
