#include "runtime/ops/reduce.h"

#include "runtime/autograd/tape.h"
#include "runtime/kernels/reduce.h"
#include "runtime/ops/elementwise.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"

namespace trident {
namespace {

/// Neighbouring dimensions [first, last) of x summed, unrecorded; they stay as extents of 1.
Tensor sum_neighbours(const Tensor& x, int first, int last) {
  if (is_complex(x.dtype())) return view::as_complex(sum_neighbours(view::as_real(x), first, last));
  const Tensor in = packed(x);
  SumExtents extents{1, 1, 1};
  Shape shape = in.shape();
  for (int dim = 0; dim < in.rank(); ++dim) {
    (dim < first ? extents.outer : dim < last ? extents.count : extents.inner) *= in.size(dim);
    if (dim >= first && dim < last) shape[dim] = 1;
  }
  const Tensor y = empty(shape, wide(in.dtype()), in.device());
  const Tensor workspace = empty({sum_workspace(extents)}, DType::f64, in.device());
  launch_activations("sum", in, [&](auto device, auto type) {
    using T = decltype(type);
    sum_middle<T>(device, extents, in.data<T>(), workspace.data<double>(), y.data<Wide<T>>());
  });
  return y;
}

/// y: the sums of x.
Tensor recorded_sum(const Tensor& x, const Tensor& y) {
  return record("sum", y, {x}, [shape = x.shape(), dtype = x.dtype()](const Tensor& dy, Wanted) {
    // The sum of a tensor without dimensions has one.
    const Tensor dx = view::broadcast_to(shape.rank() == 0 ? view::reshape(packed(dy), shape) : dy, shape);
    return std::vector{is_complex(dtype) ? dx : cast(dx, dtype)};
  });
}

}  // namespace

Tensor sum(const Tensor& x) {
  const Tensor y = view::reshape(sum_neighbours(x, 0, x.rank()), {1});
  return recorded_sum(x, y);
}

Tensor sum(const Tensor& x, const std::vector<int>& dims) {
  std::vector<bool> summed(static_cast<std::size_t>(x.rank()), false);
  for (const int dim : dims) {
    const int axis = dim < 0 ? dim + x.rank() : dim;
    if (axis < 0 || axis >= x.rank()) throw ShapeError(concat("sum: dimension ", dim, " is outside of ", to_string(x.shape())));
    summed[static_cast<std::size_t>(axis)] = true;
  }
  Tensor y = x.detached();
  for (int last = x.rank(); last > 0; --last) {  // from the back: the innermost sums read memory in order and leave least to do
    if (!summed[static_cast<std::size_t>(last - 1)]) continue;
    int first = last - 1;
    while (first > 0 && summed[static_cast<std::size_t>(first - 1)]) --first;
    y = sum_neighbours(y, first, last);
    last = first + 1;
  }
  return recorded_sum(x, y);
}

Tensor mean(const Tensor& x, const std::vector<int>& dims) {
  const Tensor total = sum(x, dims);
  return affine(total, static_cast<double>(total.numel()) / static_cast<double>(x.numel()));
}

Tensor error_sums(const Tensor& a, const Tensor& b, const std::vector<ChannelGroup>& groups, int p) {
  if (a.rank() < 3) throw ShapeError(concat("error_sums: fields are (batch, channel, space...), got ", to_string(a.shape())));
  if (b.defined() && (b.shape() != a.shape() || b.dtype() != a.dtype())) {
    throw ShapeError(concat("error_sums: ", name_of(a.dtype()), " ", to_string(a.shape()), " against ", name_of(b.dtype()), " ",
                            to_string(b.shape()), "; shapes and number types must be equal"));
  }
  if (p != 1 && p != 2) throw ShapeError(concat("error_sums: p is ", p, "; it must be 1 or 2"));
  for (const ChannelGroup& group : groups) {
    if (group.first < 0 || group.last < group.first || group.last > a.size(1)) {
      throw ShapeError(concat("error_sums: group [", group.first, ", ", group.last, ") is outside of the ", a.size(1), " channels"));
    }
  }
  const Tensor left = packed(a), right = b.defined() ? packed(b) : Tensor{};
  const auto extents = [left, p](const std::vector<ChannelGroup>& of) {
    std::int64_t points = 1;
    for (int dim = 2; dim < left.rank(); ++dim) points *= left.size(dim);
    return ErrorExtents{left.size(0), left.size(1), points, of.data(), static_cast<std::int64_t>(of.size()), p};
  };
  const Tensor sums = empty({static_cast<std::int64_t>(groups.size())}, a.dtype(), a.device());
  const Tensor workspace = empty({error_workspace(extents(groups))}, DType::f64, a.device());
  launch("error_sums", left, [&](auto device, auto type) {
    using T = decltype(type);
    error_sums(device, extents(groups), left.data<T>(), right.defined() ? right.data<T>() : nullptr, workspace.data<double>(),
               sums.data<T>());
  });
  return record("error_sums", sums, {a}, [left, right, groups, extents](const Tensor& dsums, Wanted) {
    const Tensor da = empty_like(left), factors = packed(dsums);
    launch("error_sums", left, [&](auto device, auto type) {
      using T = decltype(type);
      error_sums_gradient(device, extents(groups), left.data<T>(), right.defined() ? right.data<T>() : nullptr, factors.data<T>(),
                          da.data<T>());
    });
    return std::vector{da};
  });
}

bool all_finite(const Tensor& x) {
  const Tensor in = is_complex(x.dtype()) ? view::as_real(packed(x)) : packed(x);
  const Tensor finite = empty({1}, DType::boolean, in.device());
  launch("all_finite", in, [&](auto device, auto type) {
    using T = decltype(type);
    all_finite(device, in.numel(), in.data<T>(), finite.data<bool>());
  });
  return to_number(finite) != 0.0;
}

}  // namespace trident
