#include "runtime/ops/convolution.h"

#include <algorithm>

#include "runtime/autograd/tape.h"
#include "runtime/kernels/convolution.h"
#include "runtime/ops/into.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

[[noreturn]] void refuse(const char* op, const Tensor& x, const Tensor& weight, const char* why) {
  throw ShapeError(concat(op, ": input ", to_string(x.shape()), " ", name_of(x.dtype()), " and weight ", to_string(weight.shape()), " ",
                          name_of(weight.dtype()), ": ", why));
}

void check(const char* op, const Tensor& x, const Tensor& weight, const Tensor& bias, std::int64_t ny, std::int64_t nx,
           std::int64_t padding) {
  if (weight.size(2) != weight.size(3) || weight.size(2) < 1) refuse(op, x, weight, "the kernel must be square");
  if (x.dtype() != weight.dtype() || x.device() != weight.device()) refuse(op, x, weight, "number types and devices must be equal");
  // What is empty may be one point smaller: nothing comes out.
  if (padding < 0 || std::min(ny, nx) + 2 * padding + (x.numel() == 0 ? 1 : 0) < weight.size(2)) {
    throw ShapeError(concat(op, ": a kernel of ", weight.size(2), " points does not fit ", ny, " x ", nx, " points padded by ", padding));
  }
  if (bias.defined() && (bias.shape() != Shape{weight.size(0)} || bias.dtype() != weight.dtype())) {
    refuse(op, bias, weight, "the bias needs one number per output channel, of the weight's type");
  }
}

template <class T>
T* data_or_null(const Tensor& x) {
  return x.defined() ? x.data<T>() : nullptr;
}

/// The row-major operands off the tape.
struct Operands {
  Tensor x, weight, bias;
  Operands(const Tensor& x, const Tensor& weight, const Tensor& bias)
      : x(packed(x).detached()), weight(packed(weight).detached()), bias(bias.defined() ? packed(bias).detached() : Tensor{}) {}
};

/// Of x, weight and bias. Those of parameters meet others on a GPU; the CPU's kernels replace what is there.
struct Gradients {
  Tensor x;
  GradientPlace weight, bias;

  Gradients(const Operands& in, const Tensor& dy, Wanted wanted) : x(wanted[0] ? empty_like(in.x) : Tensor{}) {
    const auto place = [&](std::size_t input, const Shape& shape) {
      if (dy.is_cuda()) return wanted.place(input, shape, wide(dy.dtype()), dy.device());
      const Tensor own = wanted[input] ? empty(shape, dy.dtype(), dy.device()) : Tensor{};
      return GradientPlace{.to = own, .adds = false, .result = own};
    };
    weight = place(1, in.weight.shape());
    bias = place(2, {in.weight.size(0)});
  }
  std::vector<Tensor> result() const { return {x, weight.result, bias.result}; }
};

}  // namespace

Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, std::int64_t padding) {
  if (x.rank() != 4 || weight.rank() != 4 || x.size(1) != weight.size(1)) {
    refuse("conv2d", x, weight, "needs (batch, in, ny, nx) and (out, in, k, k)");
  }
  check("conv2d", x, weight, bias, x.size(2), x.size(3), padding);
  const Operands in(x, weight, bias);
  const Conv2dSize size{.batch = x.size(0),
                        .in = x.size(1),
                        .out = weight.size(0),
                        .ny = x.size(2),
                        .nx = x.size(3),
                        .kernel = weight.size(2),
                        .padding = padding};
  const Tensor y = empty({size.batch, size.out, size.out_ny(), size.out_nx()}, x.dtype(), x.device());
  launch_activations("conv2d", x, [&](auto device, auto number) {
    using T = decltype(number);
    conv2d_forward<T>(device, size, in.x.data<T>(), in.weight.data<T>(), data_or_null<T>(in.bias), y.data<T>());
  });
  return record("conv2d", y, {x, weight, bias}, [size, in](const Tensor& gradient, Wanted wanted) {
    const Tensor dy = packed(gradient);
    const Gradients to(in, dy, wanted);
    launch_activations("conv2d", dy, [&](auto device, auto number) {
      using T = decltype(number);
      if (wanted[0]) conv2d_backward_input<T>(device, size, dy.data<T>(), in.weight.data<T>(), to.x.data<T>());
      if (!wanted[1] && !wanted[2]) return;
      conv2d_backward_weight<T>(device, size, in.x.data<T>(), dy.data<T>(), into<Wide<T>>(to.weight), into<Wide<T>>(to.bias));
    });
    return to.result();
  });
}

Tensor depthwise_conv(const Tensor& x, const Tensor& weight, const Tensor& bias, std::int64_t padding) {
  if (x.rank() != 4 || weight.rank() != 4 || weight.size(1) != 1 || x.size(3) != weight.size(0)) {
    refuse("depthwise_conv", x, weight, "needs (batch, ny, nx, d) and (d, 1, k, k)");
  }
  check("depthwise_conv", x, weight, bias, x.size(1), x.size(2), padding);
  const Operands in(x, weight, bias);
  const DepthwiseSize size{
      .batch = x.size(0), .ny = x.size(1), .nx = x.size(2), .channels = x.size(3), .kernel = weight.size(2), .padding = padding};
  const Tensor y = empty({size.batch, size.out_ny(), size.out_nx(), size.channels}, x.dtype(), x.device());
  launch_activations("depthwise_conv", x, [&](auto device, auto number) {
    using T = decltype(number);
    depthwise_forward<T>(device, size, in.x.data<T>(), in.weight.data<T>(), data_or_null<T>(in.bias), y.data<T>());
  });
  const auto backward = [size, in](const Tensor& gradient, Wanted wanted) {
    const Tensor dy = packed(gradient);
    const Gradients to(in, dy, wanted);
    launch_activations("depthwise_conv", dy, [&](auto device, auto number) {
      using T = decltype(number);
      if (wanted[0]) depthwise_backward_input<T>(device, size, dy.data<T>(), in.weight.data<T>(), to.x.data<T>());
      if (!wanted[1] && !wanted[2]) return;
      depthwise_backward_weight<T>(device, size, in.x.data<T>(), dy.data<T>(), into<Wide<T>>(to.weight), into<Wide<T>>(to.bias));
    });
    return to.result();
  };
  return with_bias(record("depthwise_conv", y, {x, weight, bias}, backward), 2);
}

}  // namespace trident
