#include "models/layers/channel_mlp.h"

#include <cmath>

#include "models/layers/stochastic.h"
#include "parallel/collectives.h"
#include "runtime/ops/channel_mix.h"
#include "runtime/ops/elementwise.h"
#include "runtime/ops/shape.h"

namespace trident {

namespace {

/// Whether so many channels of x's points do not stay in the caches from one map to the next. Those of fewer are kept for the backward as
/// the GELU's slopes, which takes less time than to compute it again.
bool is_large(const Tensor& x, std::int64_t channels) {
  constexpr std::int64_t kLargeBytes = std::int64_t{4} << 20;
  return x.size(1) > 0 && x.num_bytes() / x.size(1) * channels >= kLargeBytes;
}

/// What follows a map that could not take it along.
Tensor ended(const Tensor& y, const Ending& ending) {
  if (!ending.addend.defined()) return activate(y, ending.activation);
  const Tensor addend = ending.gate.defined() ? ending.addend * reshape(ending.gate, per_channel(y.rank(), y.size(1))) : ending.addend;
  return activate(y + addend, ending.activation);
}

}  // namespace

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

Tensor PointwiseLinear::operator()(const Tensor& x, const Ending& ending) const {
  return mix_channels(x, weight.in(x.dtype()), bias.in(x.dtype()), ending);
}

PointwiseLinear::PointwiseLinear(std::int64_t in, std::int64_t out, SplitAlong along, Range own, const Mesh& mesh)
    : weight(split_parameter({out, in, 1}, along == SplitAlong::rows ? 0 : 1, own, torch_init(in), mesh)),
      bias(along == SplitAlong::rows ? split_parameter({out}, 0, own, torch_init(in), mesh) : whole_parameter({out}, torch_init(in))) {}

ChannelMlp::ChannelMlp(std::int64_t in, std::int64_t hidden, std::int64_t out, NonLinearity non_linearity, const Mesh& mesh, double dropout)
    : non_linearity(non_linearity), dropout(dropout), mesh(mesh) {
  if (hidden == 0) {
    fcs.emplace_back(in, out);
  } else if (dropout > 0.0 || mesh.size(Axis::tensor) == 1) {
    fcs.emplace_back(in, hidden);
    fcs.emplace_back(hidden, out);
  } else {
    const Range own = own_units(mesh, hidden);
    fcs.emplace_back(in, hidden, SplitAlong::rows, own, mesh);
    fcs.emplace_back(hidden, out, SplitAlong::columns, own, mesh);
  }
}

Tensor ChannelMlp::operator()(const Tensor& x, const FieldPlace& place, const Pass& pass, const Ending& ending,
                              const std::optional<Mix>& before) const {
  const bool drops = dropout > 0.0 && pass.mode == Mode::train;
  if (non_linearity == NonLinearity::gelu && !drops && !is_shared_out() && is_large(x, fcs.front().weight.shape[0])) {
    std::vector<Mix> maps;
    if (before) maps.push_back(*before);
    for (const PointwiseLinear& fc : fcs) maps.push_back({fc.weight.in(x.dtype()), {.bias = fc.bias.in(x.dtype()), .gelu = true}});
    MixEnding& last = maps.back().ending;
    last.addend = ending.addend, last.gate = ending.gate, last.gelu = ending.activation == NonLinearity::gelu;
    const Tensor y = channel_mixes(x, maps);
    return last.gelu ? y : activate(y, ending.activation);
  }
  Tensor y = before ? channel_mix(x, before->weight, before->ending) : x;
  if (is_shared_out()) {
    const Tensor hidden = fcs.front()(y, {.activation = non_linearity});
    const Tensor addend = mix_channels(hidden, fcs.back().weight.in(x.dtype()), added_once(mesh, fcs.back().bias.in(x.dtype())), {});
    return ended(all_reduce_sum(mesh, Axis::tensor, addend), ending);
  }
  for (std::size_t i = 0; i < fcs.size(); ++i) {
    const bool last = i + 1 == fcs.size();
    if (last && !drops) return fcs[i](y, ending);
    y = fcs[i](y, {.activation = last ? std::nullopt : std::optional(non_linearity)});
    y = drop_elements(y, dropout, pass.fold(i), "channel mlp", place);
  }
  return ended(y, ending);
}

double ChannelMlp::flops() const {
  double flops = 0.0;
  for (const PointwiseLinear& layer : fcs) flops += 2.0 * static_cast<double>(numel(layer.weight.pieces.front().full_shape));
  return flops;
}

}  // namespace trident
