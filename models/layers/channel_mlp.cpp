#include "models/layers/channel_mlp.h"

#include <cmath>

#include "models/layers/stochastic.h"
#include "runtime/ops/channel_mix.h"
#include "runtime/ops/elementwise.h"
#include "runtime/ops/shape.h"

namespace trident {

Shape per_channel(int rank, std::int64_t channels) {
  Shape shape{1, channels};
  for (int dim = 2; dim < rank; ++dim) shape.push_back(1);
  return shape;
}

Init torch_init(std::int64_t fan_in) {
  const double bound = 1.0 / std::sqrt(static_cast<double>(fan_in));
  return Init::uniform(-bound, bound);
}

Tensor mix_channels(const Tensor& x, const Tensor& weight, const Tensor& bias, const Ending& ending) {
  const bool gelu = ending.activation == NonLinearity::gelu;
  const Tensor y = channel_mix(x, weight, {.bias = bias, .addend = ending.addend, .gate = ending.gate, .gelu = gelu});
  return gelu ? y : activate(y, ending.activation);
}

PointwiseLinear::PointwiseLinear(std::int64_t in, std::int64_t out)
    : weight(whole_parameter({out, in, 1}, torch_init(in))), bias(whole_parameter({out}, torch_init(in))) {}

Tensor PointwiseLinear::operator()(const Tensor& x, const Ending& ending) const { return mix_channels(x, weight.value, bias.value, ending); }

ChannelMlp::ChannelMlp(std::int64_t in, std::int64_t hidden, std::int64_t out, NonLinearity non_linearity, double dropout)
    : non_linearity(non_linearity), dropout(dropout) {
  if (hidden == 0) {
    fcs.emplace_back(in, out);
  } else {
    fcs.emplace_back(in, hidden);
    fcs.emplace_back(hidden, out);
  }
}

Tensor ChannelMlp::operator()(const Tensor& x, const FieldPlace& place, const Pass& pass, const Ending& ending) const {
  const bool drops = dropout > 0.0 && pass.mode == Mode::train;
  Tensor y = x;
  for (std::size_t i = 0; i < fcs.size(); ++i) {
    const bool last = i + 1 == fcs.size();
    if (!last) {
      y = fcs[i](y, {.activation = non_linearity});
    } else if (!drops) {
      return fcs[i](y, ending);
    } else {
      y = fcs[i](y);
    }
    y = drop_elements(y, dropout, pass.fold(i), "channel mlp", place);
  }
  if (!ending.addend.defined()) return activate(y, ending.activation);
  const Tensor addend = ending.gate.defined() ? ending.addend * reshape(ending.gate, per_channel(y.rank(), y.size(1))) : ending.addend;
  return activate(y + addend, ending.activation);
}

double ChannelMlp::flops() const {
  double flops = 0.0;
  for (const PointwiseLinear& layer : fcs) flops += 2.0 * static_cast<double>(numel(layer.weight.shape));
  return flops;
}

}  // namespace trident
