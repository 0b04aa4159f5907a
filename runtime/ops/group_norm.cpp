#include "runtime/ops/group_norm.h"

#include "runtime/autograd/tape.h"
#include "runtime/kernels/group_norm.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

GroupExtents extents_of(const Tensor& x, std::int64_t groups, const Tensor& scale, const Tensor& shift) {
  if (x.rank() < 2 || groups < 1 || x.size(1) % groups != 0) {
    throw ShapeError(concat("group_norm: ", groups, " groups do not divide the channels of x ", to_string(x.shape())));
  }
  GroupExtents extents{.batch = x.size(0), .groups = groups, .channels = x.size(1) / groups, .points = 1};
  for (int dim = 2; dim < x.rank(); ++dim) extents.points *= x.size(dim);
  if (scale.defined() != shift.defined()) throw ShapeError("group_norm: scale and shift come together");
  if (!scale.defined()) return extents;
  extents.per_sample = scale.rank() == 2;
  const Shape expected = extents.per_sample ? Shape{x.size(0), x.size(1)} : Shape{x.size(1)};
  for (const Tensor& affine : {scale, shift}) {
    if (affine.shape() != expected || affine.dtype() != wide(x.dtype())) {
      throw ShapeError(concat("group_norm: scale or shift is ", name_of(affine.dtype()), " ", to_string(affine.shape()), "; x ",
                              name_of(x.dtype()), " ", to_string(x.shape()),
                              " takes one number per channel, or one per sample and channel, of ", name_of(wide(x.dtype()))));
    }
  }
  return extents;
}

template <class T>
T* data_or_null(const Tensor& x) {
  return x.defined() ? x.data<T>() : nullptr;
}

}  // namespace

Tensor group_norm(const Tensor& x, std::int64_t groups, const Tensor& scale, const Tensor& shift, double eps) {
  const GroupExtents extents = extents_of(x, groups, scale, shift);
  const Tensor in = packed(x).detached(), gain = scale.defined() ? packed(scale).detached() : Tensor{},
               offset = shift.defined() ? packed(shift).detached() : Tensor{};
  const Tensor y = empty_like(in), mean = empty({extents.batch, groups}, wide(x.dtype()), x.device()), rstd = empty_like(mean);
  launch_activations("group_norm", in, [&](auto device, auto type) {
    using T = decltype(type);
    using W = Wide<T>;
    group_norm<T>(device, extents, eps, {data_or_null<W>(gain), data_or_null<W>(offset)}, in.data<T>(), y.data<T>(), mean.data<W>(),
                  rstd.data<W>());
  });
  return record("group_norm", y, {x, scale, shift}, [extents, in, gain, mean, rstd](const Tensor& gradient, Wanted wanted) {
    const Tensor dy = packed(gradient);
    const std::vector<Tensor> result{wanted[0] ? empty_like(in) : Tensor{}, wanted[1] ? empty_like(gain) : Tensor{},
                                     wanted[2] ? empty_like(gain) : Tensor{}};
    launch_activations("group_norm", dy, [&](auto device, auto type) {
      using T = decltype(type);
      using W = Wide<T>;
      group_norm_gradient<T>(device, extents, {data_or_null<W>(gain), nullptr}, in.data<T>(), mean.data<W>(), rstd.data<W>(), dy.data<T>(),
                             {data_or_null<T>(result[0]), data_or_null<W>(result[1]), data_or_null<W>(result[2])});
    });
    return result;
  });
}

}  // namespace trident
