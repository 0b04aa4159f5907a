#include "runtime/ops/elementwise.h"

#include "runtime/autograd/tape.h"
#include "runtime/kernels/elementwise.h"
#include "runtime/ops/complex.h"
#include "runtime/ops/reduce.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"

namespace trident {
namespace {

void require_alike(const char* op, const Tensor& a, const Tensor& b) {
  if (a.dtype() != b.dtype()) {
    throw ShapeError(concat(op, ": operands are ", name_of(a.dtype()), " and ", name_of(b.dtype()), "; convert one with cast()"));
  }
  if (a.device() != b.device()) {
    throw DeviceError(concat(op, ": operands are on ", to_string(a.device()), " and ", to_string(b.device()), "; move one to the other"));
  }
}

/// The gradient of an operand that was broadcast: summed over what repeated it.
Tensor summed_to(const Tensor& dy, const Shape& shape) {
  if (dy.shape() == shape) return dy;
  const int lead = dy.rank() - shape.rank();
  std::vector<int> dims;
  for (int dim = 0; dim < dy.rank(); ++dim) {
    if (dim < lead || (shape[dim - lead] == 1 && dy.size(dim) != 1)) dims.push_back(dim);
  }
  return view::reshape(sum(dy, dims), shape);
}

/// What a gradient is multiplied by that came through a product with x.
Tensor adjoint(const Tensor& x) { return is_complex(x.dtype()) ? conjugate(x) : x; }

Tensor binary_op(const char* op, Binary kind, const Tensor& a, const Tensor& b) {
  require_alike(op, a, b);
  const Shape shape = broadcast_shape(op, a.shape(), b.shape());
  const BroadcastPair pair{shape, view::broadcast_to(a, shape).strides(), view::broadcast_to(b, shape).strides()};
  const Tensor y = empty(shape, a.dtype(), a.device());
  const auto run = [&](auto device, auto type) {
    using T = decltype(type);
    binary(device, kind, pair, a.data<T>(), b.data<T>(), y.data<T>());
  };
  if (is_complex(a.dtype())) {
    launch_numbers(op, a, run);
  } else {
    launch_activations(op, a, run);
  }
  return y;
}

/// A recorded unary operation that keeps x, or y where its gradient is simpler in y.
Tensor unary_op(const char* op, UnaryMap map, const Tensor& x) {
  const Tensor in = packed(x);
  const Tensor y = empty_like(in);
  launch_activations(op, in, [&](auto device, auto type) {
    using T = decltype(type);
    unary(device, map, in.numel(), in.data<T>(), y.data<T>());
  });
  const bool in_y = map.kind == Unary::sigmoid || map.kind == Unary::exponential || map.kind == Unary::tanh;
  const Tensor saved = in_y ? y : in;
  return record(op, y, {x}, [op, map, saved](const Tensor& dy, Wanted) {
    const Tensor slope = packed(dy), dx = empty_like(slope);
    launch_activations(op, slope, [&](auto device, auto type) {
      using T = decltype(type);
      unary_gradient(device, map, slope.numel(), saved.data<T>(), slope.data<T>(), dx.data<T>());
    });
    return std::vector{dx};
  });
}

}  // namespace

Tensor operator+(const Tensor& a, const Tensor& b) {
  return record("add", binary_op("add", Binary::add, a, b), {a, b}, [as = a.shape(), bs = b.shape()](const Tensor& dy, Wanted wanted) {
    return std::vector{wanted[0] ? summed_to(dy, as) : Tensor{}, wanted[1] ? summed_to(dy, bs) : Tensor{}};
  });
}

Tensor operator-(const Tensor& a, const Tensor& b) {
  const Tensor y = binary_op("subtract", Binary::subtract, a, b);
  return record("subtract", y, {a, b}, [as = a.shape(), bs = b.shape()](const Tensor& dy, Wanted wanted) {
    return std::vector{wanted[0] ? summed_to(dy, as) : Tensor{}, wanted[1] ? affine(summed_to(dy, bs), -1.0) : Tensor{}};
  });
}

Tensor operator*(const Tensor& a, const Tensor& b) {
  const Tensor y = binary_op("multiply", Binary::multiply, a, b);
  return record("multiply", y, {a, b}, [a = a.detached(), b = b.detached()](const Tensor& dy, Wanted wanted) {
    return std::vector{wanted[0] ? summed_to(dy * adjoint(b), a.shape()) : Tensor{},
                       wanted[1] ? summed_to(dy * adjoint(a), b.shape()) : Tensor{}};
  });
}

Tensor operator/(const Tensor& a, const Tensor& b) {
  const Tensor y = binary_op("divide", Binary::divide, a, b);
  return record("divide", y, {a, b}, [y, as = a.shape(), b = b.detached()](const Tensor& dy, Wanted wanted) {
    const Tensor da = dy / adjoint(b);
    return std::vector{wanted[0] ? summed_to(da, as) : Tensor{},
                       wanted[1] ? affine(summed_to(da * adjoint(y), b.shape()), -1.0) : Tensor{}};
  });
}

Tensor affine(const Tensor& x, double a, double b) {
  if (is_complex(x.dtype()) && b == 0.0) {  // both parts alike
    const Tensor y = view::as_complex(affine(view::as_real(packed(x)), a));
    return record("affine", y, {x}, [a](const Tensor& dy, Wanted) { return std::vector{affine(dy, a)}; });
  }
  const Tensor in = packed(x);
  const Tensor y = empty_like(in);
  launch_activations("affine", in, [&](auto device, auto type) {
    using T = decltype(type);
    unary(device, {Unary::affine, a, b}, in.numel(), in.data<T>(), y.data<T>());
  });
  return record("affine", y, {x}, [a](const Tensor& dy, Wanted) { return std::vector{affine(dy, a)}; });
}

Tensor relu(const Tensor& x) { return unary_op("relu", {Unary::relu}, x); }
Tensor gelu(const Tensor& x) { return unary_op("gelu", {Unary::gelu}, x); }
Tensor sigmoid(const Tensor& x) { return unary_op("sigmoid", {Unary::sigmoid}, x); }
Tensor exp(const Tensor& x) { return unary_op("exp", {Unary::exponential}, x); }
Tensor tanh(const Tensor& x) { return unary_op("tanh", {Unary::tanh}, x); }
Tensor silu(const Tensor& x) { return unary_op("silu", {Unary::silu}, x); }
Tensor elu(const Tensor& x, double alpha, double scale) { return unary_op("elu", {Unary::elu, alpha, scale}, x); }
Tensor leaky_relu(const Tensor& x, double slope) { return unary_op("leaky_relu", {Unary::leaky_relu, slope}, x); }
Tensor softplus(const Tensor& x) { return unary_op("softplus", {Unary::softplus}, x); }
Tensor minimum(const Tensor& x, double bound) { return unary_op("minimum", {Unary::minimum, bound}, x); }
Tensor power(const Tensor& x, double exponent) { return unary_op("power", {Unary::power, exponent}, x); }

Tensor where(const Tensor& mask, const Tensor& a, const Tensor& b) {
  require_alike("where", a, b);
  if (mask.dtype() != DType::boolean) {
    throw ShapeError(concat("where: the mask ", to_string(mask.shape()), " is ", name_of(mask.dtype()), "; it must be bool"));
  }
  const Shape shape = broadcast_shape("where", mask.shape(), broadcast_shape("where", a.shape(), b.shape()));
  const BroadcastPair pair{shape, view::broadcast_to(a, shape).strides(), view::broadcast_to(b, shape).strides()};
  const Tensor y = empty(shape, a.dtype(), a.device());
  launch_activations("where", a, [&](auto device, auto type) {
    using T = decltype(type);
    select(device, pair, view::broadcast_to(mask, shape).strides(), mask.data<bool>(), a.data<T>(), b.data<T>(), y.data<T>());
  });
  return record("where", y, {a, b}, [mask, as = a.shape(), bs = b.shape()](const Tensor& dy, Wanted wanted) {
    const Tensor zero = zeros({1}, dy.dtype(), dy.device());
    return std::vector{wanted[0] ? summed_to(where(mask, dy, zero), as) : Tensor{},
                       wanted[1] ? summed_to(where(mask, zero, dy), bs) : Tensor{}};
  });
}

Tensor cast(const Tensor& x, DType dtype) {
  if (!is_floating(x.dtype()) || !is_floating(dtype)) {
    throw ShapeError(concat("cast: from ", name_of(x.dtype()), " to ", name_of(dtype), "; both must be floating types"));
  }
  if (dtype == x.dtype()) return x;
  const Tensor y = empty(x.shape(), dtype, x.device());
  copy_into(y, x);
  return record("cast", y, {x}, [from = x.dtype()](const Tensor& dy, Wanted) { return std::vector{cast(dy, from)}; });
}

}  // namespace trident
