#include "models/fno/fno_blocks.h"

#include <algorithm>
#include <cmath>

#include "models/layers/resample.h"

namespace trident {
namespace {

/// Of a key that is null, linear, identity or soft-gating in any case.
std::optional<SkipKind> skip_kind(const std::optional<std::string>& name, int kernel) {
  if (!name) return std::nullopt;
  switch (name->front()) {
    case 'l':
    case 'L':
      return kernel > 1 ? SkipKind::convolution : SkipKind::linear;
    case 'i':
    case 'I':
      return SkipKind::identity;
    default:
      return SkipKind::soft_gating;
  }
}

SpectralConvConfig conv_config(const FnoConfig& c) {
  SpectralConvConfig conv;
  conv.in_channels = conv.out_channels = c.hidden_channels;
  conv.n_modes.assign(c.n_modes.begin(), c.n_modes.end());
  if (c.max_n_modes) conv.max_n_modes.assign(c.max_n_modes->begin(), c.max_n_modes->end());
  conv.complex_data = c.complex_data;
  conv.separable = c.separable;
  conv.factorization = c.spectral_factorization();
  conv.rank = c.spectral_rank();
  conv.fixed_rank_modes = c.fixed_rank_modes;
  conv.implementation =
      c.implementation.front() == 'r' || c.implementation.front() == 'R' ? Contraction::reconstructed : Contraction::factorized;
  conv.modes_before_v2 = c.block_variant != BlockVariant::current;
  return conv;
}

Parts activate_parts(const Parts& x, std::optional<NonLinearity> function) {
  return for_each_part(x, [&](const Tensor& part) { return activate(part, function); });
}

Parts resampled(const Parts& x, const std::vector<std::int64_t>& extents) {
  if (extents.empty()) return x;
  return for_each_part(x, [&](const Tensor& part) { return resample(part, extents); });
}

}  // namespace

FnoBlocks::FnoBlocks(const FnoConfig& c, const Mesh& mesh, const Mesh& batch)
    : complex_(c.complex_data),
      preactivation_(c.preactivation),
      stabilized_(c.stabilizer.has_value()),
      whole_(c.use_channel_mlp || c.block_variant != BlockVariant::v0_3),
      active_in_last_(c.use_channel_mlp && c.block_variant == BlockVariant::v0_3 && !c.preactivation),
      // The reference takes GELU for complex fields whatever the configuration says.
      non_linearity_(c.complex_data ? NonLinearity::gelu : c.non_linearity),
      scaling_(c.scaling()) {
  const int dims = c.num_dims();
  const std::int64_t width = c.hidden_channels;
  const std::optional<SkipKind> fno_skip = skip_kind(c.fno_skip, c.conv_bias_kernel), mlp_skip = skip_kind(c.channel_mlp_skip, 1);
  norms_per_block_ = !c.norm ? 0 : whole_ ? 2 : 1;
  for (int layer = 0; layer < c.n_layers; ++layer) {
    convs_.emplace_back(conv_config(c), mesh);
    const auto add = [&](auto& list, auto module) { list.push_back(RealOrComplex<decltype(module)>::make(complex_, module)); };
    if (fno_skip) add(fno_skips_, SkipConnection(*fno_skip, width, dims, c.conv_bias_kernel));
    if (c.use_channel_mlp) add(channel_mlps_, ChannelMlp(width, c.mlp_width(), width, NonLinearity::gelu, mesh, c.channel_mlp_dropout));
    if (c.use_channel_mlp && mlp_skip) add(channel_mlp_skips_, SkipConnection(*mlp_skip, width, dims));
    for (std::size_t i = 0; i < norms_per_block_; ++i) add(norms_, BlockNorm(*c.norm, width, c.norm_groups, batch));
  }
}

/// Points per dimension after a block.
std::vector<std::int64_t> FnoBlocks::scaled(std::size_t index, std::vector<std::int64_t> extents) const {
  for (std::size_t dim = 0; dim < extents.size(); ++dim) {
    const double points = scaling_[index][dim] * static_cast<double>(extents[dim]);
    const auto after = static_cast<std::int64_t>(std::nearbyint(points));  // half to even, as Python rounds
    if (after < 1) {
      throw ShapeError(concat("fno: block ", index, " scales ", extents[dim], " points of dimension ", dim, " by ", scaling_[index][dim],
                              " to none; change resolution_scaling_factor, or give a finer field"));
    }
    extents[dim] = after;
  }
  return extents;
}

std::vector<std::int64_t> FnoBlocks::extents_after(std::vector<std::int64_t> extents) const {
  for (std::size_t index = 0; index < convs_.size(); ++index) extents = scaled(index, std::move(extents));
  return extents;
}

/// Of a block's output; empty if its resolution is that of its input.
std::vector<std::int64_t> FnoBlocks::output_extents(std::size_t index, const std::vector<std::int64_t>& extents) const {
  if (std::ranges::all_of(scaling_[index], [](double factor) { return factor == 1.0; })) return {};
  return scaled(index, extents);
}

/// Whether the skip that is added to the convolution adds its bias too: a pass less over the field.
bool FnoBlocks::skip_adds_bias(const Call& call) const {
  return !complex_ && norms_per_block_ == 0 && !fno_skips_.empty() && fno_skips_[call.index].real.adds_bias() && call.extents.empty();
}

/// The convolution's bias if the skip adds it.
Tensor FnoBlocks::bias_of_skip(const Call& call, const Tensor& x) const {
  return skip_adds_bias(call) ? convs_[call.index].bias_in(x.dtype()) : Tensor{};
}

/// Without its bias if the skip adds that.
Parts FnoBlocks::convolve(const Call& call, const Parts& x) const {
  const Tensor field = joined(stabilized_ ? activate_parts(x, NonLinearity::tanh) : x);
  const SpectralConv& conv = convs_[call.index];
  const Tensor y =
      skip_adds_bias(call) ? conv.without_bias(field, {}, call.place.extents()) : conv(field, call.extents, call.place.extents());
  return cast_parts(split(y), call.pass.precision);
}

Parts FnoBlocks::normalise(const Call& call, std::size_t which, const Parts& x) const {
  if (norms_per_block_ == 0) return x;
  return norms_[norms_per_block_ * call.index + which](x, call.place, call.time, call.pass.mode);
}

/// activation(branch + skip(x)), where there is a skip.
Parts FnoBlocks::with_skip(const Call& call, const Parts& x, const Parts& branch, std::optional<NonLinearity> activation) const {
  if (fno_skips_.empty()) return activate_parts(branch, activation);
  const RealOrComplex<SkipConnection>& skip = fno_skips_[call.index];
  if (!complex_ && call.extents.empty()) {
    return {skip.real.add_to(branch[0], x[0], call.place, activation, bias_of_skip(call, x[0]))};
  }
  return activate_parts(sum_of(branch, resampled(skip(x, call.place), call.extents)), activation);
}

/// activation(mlp(x) + skip(skipped)), where there is a skip. Only a real MLP takes a map before it.
Parts FnoBlocks::through_mlp(const Call& call, const Parts& x, const Parts& skipped, std::optional<NonLinearity> activation,
                             const std::optional<Mix>& before) const {
  const RealOrComplex<ChannelMlp>& mlp = channel_mlps_[call.index];
  if (channel_mlp_skips_.empty()) {
    if (complex_) return activate_parts(mlp(x, call.place, call.pass), activation);
    return {mlp.real(x[0], call.place, call.pass, {.activation = activation}, before)};
  }
  const RealOrComplex<SkipConnection>& skip = channel_mlp_skips_[call.index];
  if (complex_)
    return activate_parts(sum_of(mlp(x, call.place, call.pass), resampled(skip(skipped, call.place), call.extents)), activation);
  const Ending ending = call.extents.empty()
                            ? skip.real.ending(skipped[0], call.place, activation)
                            : Ending{.addend = resample(skip.real(skipped[0], call.place), call.extents), .activation = activation};
  return {mlp.real(x[0], call.place, call.pass, ending, before)};
}

Parts FnoBlocks::post_activated(const Call& call, const Parts& x) const {
  const auto after_sum = active_in_last_ ? std::optional(non_linearity_) : call.unless_last;
  const bool has_mlp = !channel_mlps_.empty();
  const bool activate_last = norms_per_block_ > 0 || !has_mlp;
  const auto ending = activate_last ? std::nullopt : call.unless_last;
  const Parts branch = normalise(call, 0, convolve(call, x));
  Parts y;
  if (has_mlp && !complex_ && after_sum == NonLinearity::gelu && !fno_skips_.empty() && fno_skips_[call.index].real.is_map() &&
      call.extents.empty()) {
    y = through_mlp(call, x, x, ending, fno_skips_[call.index].real.map_before_gelu(branch[0], bias_of_skip(call, x[0])));
  } else {
    y = with_skip(call, x, branch, after_sum);
    if (!whole_) return y;
    if (has_mlp) y = through_mlp(call, y, x, ending);
  }
  return activate_last ? activate_parts(normalise(call, 1, y), call.unless_last) : y;
}

Parts FnoBlocks::pre_activated(const Call& call, const Parts& x) const {
  const Parts first = normalise(call, 0, activate_parts(x, non_linearity_));
  Parts y = with_skip(call, first, convolve(call, first), whole_ ? call.unless_last : std::nullopt);
  if (!whole_) return y;
  y = normalise(call, 1, y);
  return channel_mlps_.empty() ? y : through_mlp(call, y, first, std::nullopt);
}

Parts FnoBlocks::operator()(std::size_t index, const Parts& x, const FieldPlace& place, const Tensor& time, const Pass& pass) const {
  const Pass own = pass.fold(index);
  const bool last = index + 1 == convs_.size();
  const Call call{index, place, time, own, output_extents(index, place.extents()), last ? std::nullopt : std::optional(non_linearity_)};
  return preactivation_ ? pre_activated(call, x) : post_activated(call, x);
}

double FnoBlocks::spectral_flops(std::int64_t batch, const std::vector<std::int64_t>& kept_modes) const {
  double flops = 0.0;
  for (const SpectralConv& conv : convs_) flops += conv.product_flops(batch, kept_modes);
  return flops;
}

double FnoBlocks::pointwise_flops() const {
  double flops = 0.0;
  const auto add = [&](const auto& list) {
    for (const auto& module : list) flops += module.real.flops() * (module.imaginary ? 4.0 : 1.0);
  };
  add(fno_skips_), add(channel_mlps_), add(channel_mlp_skips_);
  return flops;
}

}  // namespace trident
