#include "runtime/ops/channel_mix.h"

#include <algorithm>

#include "runtime/autograd/tape.h"
#include "runtime/kernels/channel_mix.h"
#include "runtime/ops/elementwise.h"
#include "runtime/ops/into.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

struct Saved {
  MixSize size;
  Tensor x, weight, bias, addend, gate, slope;
};

Tensor packed_or_undefined(const Tensor& x) { return x.defined() ? packed(x).detached() : Tensor{}; }

template <class T>
T* data_or_null(const Tensor& x) {
  return x.defined() ? x.data<T>() : nullptr;
}

template <class T>
MixOperands<T> operands_of(const Saved& saved) {
  return {saved.x.data<T>(), saved.weight.data<T>(), data_or_null<T>(saved.bias), data_or_null<T>(saved.addend),
          data_or_null<T>(saved.gate)};
}

void check(const Tensor& x, const Tensor& weight, const MixEnding& ending) {
  if (x.rank() < 2 || weight.rank() < 2 || weight.numel() != weight.size(0) * weight.size(1) || x.size(1) != weight.size(1)) {
    throw ShapeError(concat("channel_mix: x ", to_string(x.shape()), " and weight ", to_string(weight.shape()),
                            " do not fit; expected (batch, in, ...) and (out, in)"));
  }
  for (const auto& [name, tensor] :
       {std::pair{"weight", &weight}, {"bias", &ending.bias}, {"addend", &ending.addend}, {"gate", &ending.gate}}) {
    if (tensor->defined() && tensor->dtype() != x.dtype()) {
      throw ShapeError(
          concat("channel_mix: x is ", name_of(x.dtype()), " and ", name, " is ", name_of(tensor->dtype()), "; convert one with cast()"));
    }
  }
  for (const auto& [name, tensor] : {std::pair{"bias", &ending.bias}, {"gate", &ending.gate}}) {
    if (tensor->defined() && tensor->numel() != weight.size(0)) {
      throw ShapeError(concat("channel_mix: ", name, " ", to_string(tensor->shape()), " does not have one number for each of the ",
                              weight.size(0), " output channels"));
    }
  }
  if (ending.gate.defined() && !ending.addend.defined()) throw ShapeError("channel_mix: a gate needs an addend");
}

std::vector<Tensor> mix_gradients(const Saved& saved, const Shape& gate_shape, const Shape& bias_shape, const Tensor& gradient,
                                  Wanted wanted) {
  const Tensor dy = packed(gradient);
  const auto place = [&](std::size_t index, const Shape& shape, DType dtype) { return wanted.place(index, shape, dtype, dy.device()); };
  const auto own = [&](std::size_t index, const Shape& shape) {
    const Tensor memory = wanted[index] ? empty(shape, dy.dtype(), dy.device()) : Tensor{};
    return GradientPlace{.to = memory, .adds = false, .result = memory};
  };
  const DType type = wide(dy.dtype());
  // One pass less over the field where other layers read it too.
  const GradientPlace dx = saved.size.of_gelu ? own(0, saved.x.shape()) : place(0, saved.x.shape(), dy.dtype()),
                      weight = place(1, saved.weight.shape(), type), bias = place(2, bias_shape, type), gate = place(4, gate_shape, type);
  const bool same = !saved.size.gelu && !saved.gate.defined();
  const Tensor addend = same ? Tensor{} : own(3, dy.shape()).to;
  launch_activations("channel_mix", dy, [&](auto device, auto number) {
    using T = decltype(number);
    using W = Wide<T>;
    mix_backward<T>(device, saved.size, operands_of<T>(saved), data_or_null<T>(saved.slope), dy.data<T>(),
                    {into<T>(dx), data_or_null<T>(addend), into<W>(weight), into<W>(bias), into<W>(gate)});
  });
  return {dx.result, weight.result, bias.result, same && wanted[3] ? dy : addend, gate.result};
}

}  // namespace

Tensor channel_mix(const Tensor& x, const Tensor& weight, const MixEnding& ending, MixInput input) {
  check(x, weight, ending);
  if (input == MixInput::before_gelu && x.is_cuda()) return channel_mix(gelu(x), weight, ending);
  Shape shape = x.shape();
  shape[1] = weight.size(0);
  if (ending.addend.defined() && ending.addend.shape() != shape) {
    throw ShapeError(concat("channel_mix: addend ", to_string(ending.addend.shape()), " is not of the result's shape ", to_string(shape)));
  }
  const std::vector<Tensor> inputs{x, weight, ending.bias, ending.addend, ending.gate};
  const bool recorded = Recording::is_on() && std::ranges::any_of(inputs, [](const Tensor& input) { return input.node() != nullptr; });
  Saved saved{.size = {.batch = x.size(0),
                       .in = x.size(1),
                       .out = shape[1],
                       .points = 1,
                       .gelu = ending.gelu,
                       .of_gelu = input == MixInput::before_gelu},
              .x = packed(x).detached(),
              .weight = packed(weight).detached(),
              .bias = packed_or_undefined(ending.bias),
              .addend = packed_or_undefined(ending.addend),
              .gate = packed_or_undefined(ending.gate),
              .slope = recorded && ending.gelu ? empty(shape, x.dtype(), x.device()) : Tensor{}};
  for (int dim = 2; dim < x.rank(); ++dim) saved.size.points *= x.size(dim);
  const Tensor y = empty(shape, x.dtype(), x.device());
  launch_activations("channel_mix", x, [&](auto device, auto number) {
    using T = decltype(number);
    mix_forward<T>(device, saved.size, operands_of<T>(saved), data_or_null<T>(saved.slope), y.data<T>());
  });
  const Shape gate_shape = ending.gate.defined() ? ending.gate.shape() : Shape{},
              bias_shape = ending.bias.defined() ? ending.bias.shape() : Shape{};
  if (!ending.gate.node()) saved.addend = {};  // only the gate's gradient reads it
  return record("channel_mix", y, inputs, [saved, gate_shape, bias_shape](const Tensor& dy, Wanted wanted) {
    return mix_gradients(saved, gate_shape, bias_shape, dy, wanted);
  });
}

}  // namespace trident
