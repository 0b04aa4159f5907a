#include "runtime/ops/channel_mix.h"

#include <algorithm>
#include <array>
#include <type_traits>

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
  return {data_or_null<T>(saved.x), saved.weight.data<T>(), data_or_null<T>(saved.bias), data_or_null<T>(saved.addend),
          data_or_null<T>(saved.gate)};
}

void check(const Shape& x, DType dtype, const Tensor& weight, const MixEnding& ending) {
  if (x.rank() < 2 || weight.rank() < 2 || weight.numel() != weight.size(0) * weight.size(1) || x[1] != weight.size(1)) {
    throw ShapeError(concat("channel_mix: x ", to_string(x), " and weight ", to_string(weight.shape()),
                            " do not fit; expected (batch, in, ...) and (out, in)"));
  }
  for (const auto& [name, tensor] :
       {std::pair{"weight", &weight}, {"bias", &ending.bias}, {"addend", &ending.addend}, {"gate", &ending.gate}}) {
    if (tensor->defined() && tensor->dtype() != dtype) {
      throw ShapeError(
          concat("channel_mix: x is ", name_of(dtype), " and ", name, " is ", name_of(tensor->dtype()), "; convert one with cast()"));
    }
  }
  for (const auto& [name, tensor] : {std::pair{"bias", &ending.bias}, {"gate", &ending.gate}}) {
    if (tensor->defined() && tensor->numel() != weight.size(0)) {
      throw ShapeError(concat("channel_mix: ", name, " ", to_string(tensor->shape()), " does not have one number for each of the ",
                              weight.size(0), " output channels"));
    }
  }
  Shape shape = x;
  shape[1] = weight.size(0);
  if (ending.addend.defined() && ending.addend.shape() != shape) {
    throw ShapeError(concat("channel_mix: addend ", to_string(ending.addend.shape()), " is not of the result's shape ", to_string(shape)));
  }
  if (ending.gate.defined() && !ending.addend.defined()) throw ShapeError("channel_mix: a gate needs an addend");
}

std::vector<Tensor> mix_gradients(const Saved& saved, const Shape& gate_shape, const Shape& bias_shape, const Tensor& gradient,
                                  Wanted wanted) {
  const Tensor dy = packed(gradient);
  const auto place = [&](std::size_t index, const Shape& shape, DType dtype) { return wanted.place(index, shape, dtype, dy.device()); };
  const DType type = wide(dy.dtype());
  const GradientPlace dx = place(0, saved.x.shape(), dy.dtype()), weight = place(1, saved.weight.shape(), type),
                      bias = place(2, bias_shape, type), gate = place(4, gate_shape, type);
  const bool same = !saved.size.gelu && !saved.gate.defined();
  const Tensor addend = !same && wanted[3] ? empty_like(dy) : Tensor{};
  launch_activations("channel_mix", dy, [&](auto device, auto number) {
    using T = decltype(number);
    using W = Wide<T>;
    mix_backward<T>(device, saved.size, operands_of<T>(saved), data_or_null<T>(saved.slope), dy.data<T>(),
                    {into<T>(dx), data_or_null<T>(addend), into<W>(weight), into<W>(bias), into<W>(gate)});
  });
  return {dx.result, weight.result, bias.result, same && wanted[3] ? dy : addend, gate.result};
}

}  // namespace

Tensor channel_mix(const Tensor& x, const Tensor& weight, const MixEnding& ending) {
  check(x.shape(), x.dtype(), weight, ending);
  Shape shape = x.shape();
  shape[1] = weight.size(0);
  const std::vector<Tensor> inputs{x, weight, ending.bias, ending.addend, ending.gate};
  const bool recorded = Recording::is_on() && std::ranges::any_of(inputs, [](const Tensor& input) { return input.node() != nullptr; });
  Saved saved{.size = {.batch = x.size(0), .in = x.size(1), .out = shape[1], .points = 1, .gelu = ending.gelu},
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

namespace {

/// A chain for the backward, and what its gradients take the shapes of.
struct SavedChain {
  std::vector<Saved> maps;
  bool adds_x = false;
  Tensor slope;  // of the last one's GELU
};

/// Places of a map's operands among the inputs: the chain's x comes first.
enum Operand : std::size_t { kWeight = 1, kBias, kAddend, kGate, kPerMap = kGate };
std::size_t input_of(std::size_t map, Operand operand) { return kPerMap * map + operand; }

template <class T>
std::vector<MixMap<T>> maps_of(const SavedChain& saved) {
  std::vector<MixMap<T>> maps;
  for (std::size_t i = 0; i < saved.maps.size(); ++i) {
    const bool last = i + 1 == saved.maps.size();
    maps.push_back(
        {.size = saved.maps[i].size, .from = operands_of<T>(saved.maps[i]), .kept = last ? nullptr : data_or_null<T>(saved.maps[i + 1].x)});
  }
  return maps;
}

std::vector<Tensor> chain_gradients(const SavedChain& saved, const std::vector<std::array<Shape, kPerMap>>& shapes, const Tensor& gradient,
                                    Wanted wanted) {
  const Tensor dy = packed(gradient);
  const MixSize& last = saved.maps.back().size;
  const bool same = !last.gelu && !saved.maps.back().gate.defined();  // the last addend's gradient is dy
  std::vector<Tensor> results(1 + kPerMap * saved.maps.size());
  launch("channel_mixes", dy, [&](auto device, auto number) {
    using T = decltype(number);
    if constexpr (std::is_same_v<decltype(device), Cpu>) {
      std::vector<MixMap<T>> maps = maps_of<T>(saved);
      const auto at = [&](std::size_t input, const Shape& shape) {
        const GradientPlace place = wanted.place(input, shape, dy.dtype(), dy.device());
        results[input] = place.result;
        return into<T>(place);
      };
      const auto own = [&](std::size_t input, const Shape& shape) {
        if (wanted[input]) results[input] = empty(shape, dy.dtype(), dy.device());
        return data_or_null<T>(results[input]);
      };
      const Shape& x = saved.maps.front().x.shape();
      maps.front().to.x = saved.adds_x ? Into<T>{own(0, x)} : at(0, x);
      for (std::size_t i = 0; i < maps.size(); ++i) {
        const auto& [weight, bias, addend, gate] = shapes[i];
        const bool is_dy = same && i + 1 == maps.size();
        maps[i].to.weight = at(input_of(i, kWeight), weight);
        maps[i].to.bias = at(input_of(i, kBias), bias);
        maps[i].to.gate = at(input_of(i, kGate), gate);
        if (!is_dy) maps[i].to.addend = own(input_of(i, kAddend), addend);
        if (is_dy && wanted[input_of(i, kAddend)]) results[input_of(i, kAddend)] = dy;
      }
      mix_backward<T>(device, {maps, saved.adds_x}, data_or_null<T>(saved.slope), dy.data<T>());
    }
  });
  return results;
}

bool are_same(const Tensor& a, const Tensor& b) {
  return b.defined() && a.node() == b.node() && a.storage() == b.storage() && a.offset() == b.offset() && a.shape() == b.shape();
}

}  // namespace

Tensor channel_mixes(const Tensor& x, const std::vector<Mix>& maps) {
  for (std::size_t i = 0; i + 1 < maps.size(); ++i) {
    if (!maps[i].ending.gelu || maps[i].ending.gate.defined())
      throw ShapeError(concat("channel_mixes: map ", i, " of ", maps.size(), " has ", maps[i].ending.gelu ? "a gate" : "no GELU",
                              "; use channel_mix()"));
  }
  if (x.is_cuda() || maps.size() < 2) {
    Tensor y = x;
    for (const Mix& map : maps) y = channel_mix(y, map.weight, map.ending);
    return y;
  }
  const Mix& last = maps.back();
  SavedChain saved{.maps = {}, .adds_x = are_same(x, last.ending.addend), .slope = {}};
  std::vector<Tensor> inputs{x};
  std::vector<std::array<Shape, kPerMap>> shapes;
  const auto shape_of = [](const Tensor& t) { return t.defined() ? t.shape() : Shape{}; };
  Shape shape = x.shape();
  std::int64_t points = 1;
  for (int dim = 2; dim < x.rank(); ++dim) points *= x.size(dim);
  for (const auto& [weight, ending] : maps) {
    check(shape, x.dtype(), weight, ending);
    shape[1] = weight.size(0);
    const bool adds_x = &weight == &last.weight && saved.adds_x;
    inputs.insert(inputs.end(), {weight, ending.bias, adds_x ? Tensor{} : ending.addend, ending.gate});
  }
  const bool recorded = Recording::is_on() && std::ranges::any_of(inputs, [](const Tensor& input) { return input.node() != nullptr; });
  shape = x.shape();
  for (const auto& [weight, ending] : maps) {
    const bool is_first = saved.maps.empty(), adds_x = &weight == &last.weight && saved.adds_x;
    saved.maps.push_back({.size = {.batch = x.size(0), .in = shape[1], .out = weight.size(0), .points = points, .gelu = ending.gelu},
                          .x = is_first   ? packed(x).detached()
                               : recorded ? empty(shape, x.dtype(), x.device())
                                          : Tensor{},
                          .weight = packed(weight).detached(),
                          .bias = packed_or_undefined(ending.bias),
                          .addend = adds_x ? saved.maps.front().x : packed_or_undefined(ending.addend),
                          .gate = packed_or_undefined(ending.gate),
                          .slope = {}});
    shape[1] = weight.size(0);
    shapes.push_back({weight.shape(), shape_of(ending.bias), shape, shape_of(ending.gate)});
  }
  const Tensor y = empty(shape, x.dtype(), x.device());
  if (recorded && last.ending.gelu) saved.slope = empty_like(y);
  launch("channel_mixes", x, [&](auto device, auto number) {
    using T = decltype(number);
    if constexpr (std::is_same_v<decltype(device), Cpu>) {
      const std::vector<MixMap<T>> chain = maps_of<T>(saved);
      mix_forward<T>(device, {chain, saved.adds_x}, data_or_null<T>(saved.slope), y.data<T>());
    }
  });
  for (Saved& map : saved.maps) {
    if (map.gate.defined() && last.ending.gate.node()) continue;
    map.addend = {};  // only the gate's gradient reads it
  }
  return record("channel_mixes", y, inputs,
                [saved, shapes](const Tensor& dy, Wanted wanted) { return chain_gradients(saved, shapes, dy, wanted); });
}

}  // namespace trident
