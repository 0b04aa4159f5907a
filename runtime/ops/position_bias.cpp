#include "runtime/ops/position_bias.h"

#include <utility>

#include "runtime/kernels/position_bias.h"
#include "runtime/ops/into.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

void check(const Tensor& offsets, const std::vector<PositionBiasMlp>& mlps) {
  if (offsets.rank() != 2 || offsets.size(1) != 2 || offsets.dtype() != DType::f64) {
    throw ShapeError(
        concat("position_biases: offsets must be f64 (offsets, 2), got ", name_of(offsets.dtype()), " ", to_string(offsets.shape())));
  }
  const Tensor& first = mlps.front().up;
  for (const auto& [up, up_bias, down] : mlps) {
    const std::int64_t hidden = up_bias.numel();
    if (up.shape() == Shape{hidden, 2} && down.rank() == 2 && down.size(1) == hidden && up.shape() == first.shape() &&
        up.dtype() == first.dtype() && up_bias.dtype() == first.dtype() && down.dtype() == first.dtype()) {
      continue;
    }
    throw ShapeError(concat("position_biases: weights ", to_string(up.shape()), ", ", to_string(up_bias.shape()), " and ",
                            to_string(down.shape()), " must be (hidden, 2), (hidden,) and (heads, hidden), all of one type and width"));
  }
}

/// What the kernels get, and the backward keeps.
struct Operands {
  PositionBiasSize size;
  Tensor coordinates;
  std::vector<PositionBiasMlp> mlps;
  std::vector<Tensor> slopes;  // (heads, offsets) of the sigmoids; undefined in predictions

  template <class T>
  PositionBiasWeights<T> weights(std::size_t i) const {
    return {mlps[i].down.size(0), mlps[i].up.data<T>(), mlps[i].up_bias.data<T>(), mlps[i].down.data<T>()};
  }
};

Operands operands_of(const Tensor& offsets, const std::vector<PositionBiasMlp>& mlps) {
  Operands in{{.offsets = offsets.size(0), .hidden = mlps.front().up.size(0)}, packed(offsets), {}, {}};
  for (const auto& [up, up_bias, down] : mlps) {
    in.mlps.push_back({packed(up).detached(), packed(up_bias).detached(), packed(down).detached()});
    const Shape shape{down.size(0), in.size.offsets};
    in.slopes.push_back(Recording::is_on() ? empty(shape, up.dtype(), up.device()) : Tensor{});
  }
  return in;
}

std::vector<Tensor> backward_of(const Operands& in, const std::vector<Tensor>& dys, Wanted wanted) {
  std::vector<Tensor> dy, result;
  std::vector<GradientPlace> places;
  for (std::size_t i = 0; i < in.mlps.size(); ++i) {
    dy.push_back(dys[i].defined() ? packed(dys[i]) : zeros_like(in.slopes[i]));
    for (const Tensor& x : {in.mlps[i].up, in.mlps[i].up_bias, in.mlps[i].down}) {
      places.push_back(wanted.place(places.size(), x.shape(), x.dtype(), x.device()));
      result.push_back(places.back().result);
    }
  }
  launch("position_biases", dy.front(), [&](auto device, auto number) {
    using T = decltype(number);
    std::vector<PositionBiasGradient<T>> gradients;
    for (std::size_t i = 0; i < in.mlps.size(); ++i) {
      gradients.push_back({in.weights<T>(i), in.slopes[i].data<T>(), dy[i].data<T>(), into<T>(places[3 * i]), into<T>(places[3 * i + 1]),
                           into<T>(places[3 * i + 2])});
    }
    position_bias_gradients<T>(device, in.size, in.coordinates.data<double>(), gradients);
  });
  return result;
}

}  // namespace

std::vector<Tensor> position_biases(const Tensor& offsets, const std::vector<PositionBiasMlp>& mlps) {
  if (mlps.empty()) return {};
  check(offsets, mlps);
  const Operands in = operands_of(offsets, mlps);
  std::vector<Tensor> y;
  for (const PositionBiasMlp& mlp : mlps) y.push_back(empty({mlp.down.size(0), in.size.offsets}, mlp.up.dtype(), mlp.up.device()));
  launch("position_biases", in.mlps.front().up, [&](auto device, auto number) {
    using T = decltype(number);
    std::vector<PositionBias<T>> biases;
    for (std::size_t i = 0; i < mlps.size(); ++i)
      biases.push_back({in.weights<T>(i), y[i].data<T>(), in.slopes[i].defined() ? in.slopes[i].data<T>() : nullptr});
    position_biases<T>(device, in.size, in.coordinates.data<double>(), biases);
  });
  std::vector<Tensor> inputs;
  for (const auto& [up, up_bias, down] : mlps) inputs.insert(inputs.end(), {up, up_bias, down});
  return record_all("position_biases", std::move(y), inputs,
                    [in](const std::vector<Tensor>& dys, Wanted wanted) { return backward_of(in, dys, wanted); });
}

}  // namespace trident
