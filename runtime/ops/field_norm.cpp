#include "runtime/ops/field_norm.h"

#include "runtime/autograd/tape.h"
#include "runtime/kernels/field_norm.h"
#include "runtime/ops/elementwise.h"
#include "runtime/ops/shape.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

/// The extents before the last `axes` ones.
Shape leading_shape(const char* op, const Tensor& x, int axes) {
  if (axes < 1 || axes >= x.rank()) {
    throw ShapeError(concat(op, ": ", axes, " space axes of ", to_string(x.shape()), "; at least one axis must lie before them"));
  }
  Shape shape;
  for (int dim = 0; dim < x.rank() - axes; ++dim) shape.push_back(x.size(dim));
  return shape;
}

SobolevExtents sobolev_extents(const Tensor& x, const std::vector<double>& spacings) {
  const int axes = static_cast<int>(spacings.size());
  if (axes > kMostSpaceAxes) throw ShapeError(concat("sobolev_sums: ", axes, " space axes; it takes at most ", kMostSpaceAxes));
  SobolevExtents extents{numel(leading_shape("sobolev_sums", x, axes)), axes, {}, {}};
  for (int axis = 0; axis < axes; ++axis) {
    const auto k = static_cast<std::size_t>(axis);
    extents.points[k] = x.size(x.rank() - axes + axis);
    extents.spacing[k] = spacings[k];
  }
  return extents;
}

void check_neighbours(const Tensor& x, const std::vector<double>& spacings, const std::vector<Neighbours>& neighbours) {
  if (!neighbours.empty() && neighbours.size() != spacings.size()) {
    throw ShapeError(concat("sobolev_sums: neighbours of ", neighbours.size(), " axes for ", spacings.size(), " spacings"));
  }
  for (std::size_t k = 0; k < neighbours.size(); ++k) {
    const auto& [before, after] = neighbours[k];
    if (!before.defined() && !after.defined()) continue;
    Shape face = x.shape();
    face[x.rank() - static_cast<int>(spacings.size()) + static_cast<int>(k)] = 1;
    for (const Tensor& side : {before, after}) {
      if (side.defined() && side.shape() == face && side.dtype() == x.dtype()) continue;
      throw ShapeError(concat("sobolev_sums: the neighbours of axis ", k, " of ", to_string(x.shape()), " must both be ", to_string(face),
                              " in ", name_of(x.dtype())));
    }
  }
}

template <class T>
Faces<T> faces_of(const std::vector<Neighbours>& neighbours) {
  Faces<T> faces;
  for (std::size_t k = 0; k < neighbours.size(); ++k) {
    if (!neighbours[k].before.defined()) continue;
    faces.before[k] = neighbours[k].before.data<std::remove_const_t<T>>();
    faces.after[k] = neighbours[k].after.data<std::remove_const_t<T>>();
  }
  return faces;
}

template <class Make>
std::vector<Neighbours> each(const std::vector<Neighbours>& neighbours, Make make) {
  std::vector<Neighbours> result;
  for (const auto& [before, after] : neighbours) {
    result.push_back(before.defined() ? Neighbours{make(before), make(after)} : Neighbours{});
  }
  return result;
}

}  // namespace

Tensor power_sums(const Tensor& x, int axes, double p) {
  if (!(p >= 1.0)) throw ShapeError(concat("power_sums: p is ", p, "; it must be 1 or more"));
  const Shape leading = leading_shape("power_sums", x, axes);
  const Tensor in = packed(x), sums = empty(leading, x.dtype(), x.device());
  const std::int64_t planes = numel(leading);
  const PowerExtents extents{planes, planes == 0 ? 0 : x.numel() / planes, p};
  launch("power_sums", in, [&](auto device, auto type) {
    using T = decltype(type);
    power_sums(device, extents, in.data<T>(), sums.data<T>());
  });
  return record("power_sums", sums, {x}, [in, extents](const Tensor& dsums, Wanted) {
    const Tensor dx = empty_like(in), factors = packed(dsums);
    launch("power_sums", in, [&](auto device, auto type) {
      using T = decltype(type);
      power_sums_gradient(device, extents, in.data<T>(), factors.data<T>(), dx.data<T>());
    });
    return std::vector{dx};
  });
}

Tensor sobolev_sums(const Tensor& x, const std::vector<double>& spacings, const std::vector<Neighbours>& neighbours) {
  const SobolevExtents extents = sobolev_extents(x, spacings);
  check_neighbours(x, spacings, neighbours);
  const Tensor in = packed(x);
  const Tensor sums = empty(leading_shape("sobolev_sums", x, extents.axes), x.dtype(), x.device());
  const Tensor workspace = empty({extents.planes * (extents.axes + 1)}, DType::f64, x.device());
  const std::vector<Neighbours> sides = each(neighbours, [](const Tensor& side) { return packed(side); });
  launch("sobolev_sums", in, [&](auto device, auto type) {
    using T = decltype(type);
    sobolev_sums(device, extents, in.data<T>(), faces_of<const T>(sides), workspace.data<double>(), sums.data<T>());
  });
  std::vector<Tensor> inputs{x};
  for (const auto& [before, after] : neighbours) {
    if (before.defined()) inputs.insert(inputs.end(), {before, after});
  }
  return record("sobolev_sums", sums, inputs, [in = in.detached(), extents, sides](const Tensor& dsums, Wanted) {
    const Tensor dx = empty_like(in), factors = packed(dsums);
    const std::vector<Neighbours> dsides = each(sides, [](const Tensor& side) { return empty_like(side); });
    launch("sobolev_sums", in, [&](auto device, auto type) {
      using T = decltype(type);
      sobolev_sums_gradient(device, extents, in.data<T>(), faces_of<const T>(sides), factors.data<T>(), dx.data<T>(), faces_of<T>(dsides));
    });
    std::vector<Tensor> gradients{dx};
    for (const auto& [before, after] : dsides) {
      if (before.defined()) gradients.insert(gradients.end(), {before, after});
    }
    return gradients;
  });
}

Neighbours one_sided_neighbours(const Tensor& x, int axis) {
  const int dim = axis < 0 ? axis + x.rank() : axis;
  const std::int64_t points = x.size(dim);
  if (points < 4) {
    throw ShapeError(
        concat("one_sided_neighbours: axis ", dim, " of ", to_string(x.shape()), " has ", points, " points; one-sided differences need 4"));
  }
  // The central difference with this neighbour, (x1 - before) / 2, is the one-sided one.
  const auto extrapolated = [&](std::int64_t first, std::int64_t step) {
    const auto point = [&](std::int64_t k, double weight) { return affine(slice(x, dim, first + k * step, first + k * step + 1), weight); };
    return point(0, 11.0 / 3.0) + point(1, -5.0) + (point(2, 3.0) + point(3, -2.0 / 3.0));
  };
  return {extrapolated(0, 1), extrapolated(points - 1, -1)};
}

}  // namespace trident
