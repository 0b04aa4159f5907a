#include "models/layers/spectral_conv.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "models/layers/spectral_exchange.h"
#include "parallel/collectives.h"
#include "runtime/error.h"
#include "runtime/ops/complex.h"
#include "runtime/ops/elementwise.h"
#include "runtime/ops/shape.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

/// Modes per dimension as they are stored: half of the last dimension's of a real field.
std::vector<std::int64_t> stored_modes(const SpectralConvConfig& config) {
  std::vector<std::int64_t> modes = config.n_modes;
  if (!config.complex_data && !modes.empty()) modes.back() = modes.back() / 2 + 1;
  return modes;
}

std::vector<std::int64_t> held_modes(const SpectralConvConfig& config) {
  return config.max_n_modes.empty() ? stored_modes(config) : config.max_n_modes;
}

void check(const SpectralConvConfig& config) {
  const auto refuse = [](const std::string& what) { throw ConfigError("spectral convolution: " + what); };
  if (config.in_channels < 1 || config.out_channels < 1)
    refuse(concat(config.in_channels, " to ", config.out_channels, " channels; at least 1 is needed"));
  if (config.n_modes.empty() || config.n_modes.size() > 3)
    refuse(concat("model.n_modes has ", config.n_modes.size(), " numbers; fields of 1 to 3 dimensions have one each"));
  if (std::ranges::any_of(config.n_modes, [](std::int64_t modes) { return modes < 1; }))
    refuse("model.n_modes must be at least 1 in every dimension");
  if (config.separable && config.in_channels != config.out_channels) {
    refuse(concat("model.separable keeps channels apart, but there are ", config.in_channels, " in and ", config.out_channels,
                  " out; make them equal"));
  }
  if (config.max_n_modes.empty()) return;
  if (config.max_n_modes.size() != config.n_modes.size()) {
    refuse(
        concat("model.max_n_modes has ", config.max_n_modes.size(), " numbers, model.n_modes ", config.n_modes.size(), "; give as many"));
  }
  const std::vector<std::int64_t> stored = stored_modes(config);
  for (std::size_t i = 0; i < stored.size(); ++i) {
    if (config.max_n_modes[i] < stored[i]) {
      refuse(
          concat("model.max_n_modes holds ", config.max_n_modes[i], " modes in dimension ", i, ", but ", stored[i], " are used; raise it"));
    }
  }
}

double deviation_of(const SpectralConvConfig& config) {
  return config.init_std.value_or(std::sqrt(2.0 / static_cast<double>(config.in_channels + config.out_channels)));
}

SpectralWeight::Description weight_of(const SpectralConvConfig& config) {
  check(config);
  Shape shape{config.in_channels};
  if (!config.separable) shape.push_back(config.out_channels);
  for (const std::int64_t modes : held_modes(config)) shape.push_back(modes);
  return {.shape = shape,
          .factorization = config.factorization,
          .rank = config.rank,
          .first_rank = config.fixed_rank_modes ? FirstRank::fixed : FirstRank::chosen,
          .contraction = config.implementation,
          .channels = config.separable ? Channels::separate : Channels::mixed,
          .deviation = deviation_of(config)};
}

/// One dimension of the convolution: which frequencies both grids and the weight have, and where the weight holds them.
struct Kept {
  Range frequencies;  // cycles per domain
  Range of_weight;
};

/// Which modes of a dimension are kept: around 0; in a real field's last dimension from 0 to half the points; in a complex field's only
/// dimension from 0 on, as the reference has it.
enum class Frequencies { around_zero, around_zero_before_v2, half, from_zero };

Frequencies frequencies_of(const SpectralConvConfig& config, int dim) {
  const int dims = static_cast<int>(config.n_modes.size());
  if (config.complex_data) return dims == 1 ? Frequencies::from_zero : Frequencies::around_zero;
  if (dim + 1 == dims) return Frequencies::half;
  return config.modes_before_v2 ? Frequencies::around_zero_before_v2 : Frequencies::around_zero;
}

/// `modes` of a weight that holds `held`, on grids of so many points.
Kept kept_modes(Frequencies frequencies, std::int64_t modes, std::int64_t held, std::int64_t points, std::int64_t out_points) {
  if (frequencies == Frequencies::half) {
    const std::int64_t count = std::min(modes, std::min(points, out_points) / 2 + 1);
    return {{0, count}, {0, count}};
  }
  const std::int64_t count = std::min(modes, points), first_of_weight = (held - count) / 2;
  if (frequencies == Frequencies::from_zero) {
    const std::int64_t placed = std::min(count, out_points);
    return {{0, placed}, {first_of_weight, first_of_weight + placed}};
  }
  const bool one_lower = frequencies == Frequencies::around_zero_before_v2 && count % 2 == 1 && points % 2 == 0;
  const std::int64_t first = -(count / 2) - (one_lower ? 1 : 0);
  const std::int64_t lower = std::max(first, -(out_points / 2)), upper = std::min(first + count, (out_points + 1) / 2);
  return {{lower, upper}, {first_of_weight + lower - first, first_of_weight + upper - first}};
}

/// That x is this rank's rectangle of a field of these extents.
void require_extents(const Tensor& x, const std::vector<std::int64_t>& extents, const Domain& domain) {
  const int dims = x.rank() - 2;
  if (extents.empty() && domain.ranks() == 1) return;
  bool fits = static_cast<int>(extents.size()) == dims;
  if (fits) {
    const Rectangle own = domain.rectangle(dims == 1 ? 1 : extents[extents.size() - 2], extents.back());
    fits = x.size(-1) == own.columns.size() && (dims == 1 || x.size(-2) == own.rows.size());
    for (int dim = 0; dim + 2 < dims; ++dim) fits = fits && x.size(dim + 2) == extents[static_cast<std::size_t>(dim)];
  }
  if (fits) return;
  throw ShapeError(concat("spectral convolution: ", to_string(x.shape()), " is not this rank's part of a field of ",
                          to_string(Shape(extents)), " points"));
}

}  // namespace

SpectralConv::SpectralConv(const SpectralConvConfig& config, const Mesh& mesh)
    : config_(config), domain_(mesh), weight_(weight_of(config), mesh) {
  if (config.n_modes.size() == 1 && mesh.size(Axis::domain_y) > 1) {
    throw ConfigError(concat("parallel.domain_y: fields of one dimension are shared out along x alone, and there are ",
                             mesh.size(Axis::domain_y), " ranks along y; set it to 1 and domain_x to ",
                             mesh.size(Axis::domain_y) * mesh.size(Axis::domain_x)));
  }
  if (!config.bias) return;
  Shape shape{config.out_channels};
  for (std::size_t i = 0; i < config.n_modes.size(); ++i) shape.push_back(1);
  bias_ = whole_parameter(shape, Init::normal(deviation_of(config)));
}

Tensor SpectralConv::operator()(const Tensor& x, const std::vector<std::int64_t>& output_extents,
                                const std::vector<std::int64_t>& extents) const {
  if (!bias_ || !config_.complex_data) return with_bias(x, output_extents, extents, bias_in(x.dtype()));
  return without_bias(x, output_extents, extents) + complex(bias_->value, zeros_like(bias_->value));
}

Tensor SpectralConv::with_bias(const Tensor& x, const std::vector<std::int64_t>& output_extents, const std::vector<std::int64_t>& extents,
                               const Tensor& bias) const {
  const int dims = static_cast<int>(config_.n_modes.size());
  if (x.rank() != dims + 2 || x.size(1) != config_.in_channels || is_complex(x.dtype()) != config_.complex_data) {
    throw ShapeError(concat("spectral convolution: ", name_of(x.dtype()), " ", to_string(x.shape()), " is not (batch, ",
                            config_.in_channels, ", ", dims,
                            config_.complex_data ? " dimensions) of complex numbers" : " dimensions) of real numbers"));
  }
  if (!output_extents.empty() && output_extents.size() != config_.n_modes.size()) {
    throw ShapeError(concat("spectral convolution: ", output_extents.size(), " output extents for fields of ", dims, " dimensions"));
  }
  require_extents(x, extents, domain_);
  const std::vector<std::int64_t> modes = stored_modes(config_), held = held_modes(config_);
  const FieldNumbers numbers = config_.complex_data ? FieldNumbers::complex : FieldNumbers::real;
  SpectralExchange in{.domain = domain_, .axes = {}, .shares = {}, .numbers = numbers}, out = in;
  std::vector<Range> of_weight;
  double points = 1.0;
  for (int dim = 0; dim < dims; ++dim) {
    const auto i = static_cast<std::size_t>(dim);
    const std::int64_t n = extents.empty() ? x.size(dim + 2) : extents[i], out_n = output_extents.empty() ? n : output_extents[i];
    const Kept kept = kept_modes(frequencies_of(config_, dim), modes[i], held[i], n, out_n);
    in.axes.push_back({n, 0, n, kept.frequencies.first, kept.frequencies.size()});
    out.axes.push_back({out_n, 0, out_n, kept.frequencies.first, kept.frequencies.size()});
    of_weight.push_back(kept.of_weight);
    points *= static_cast<double>(n);
  }
  for (const Range& share : weight_.shares(of_weight.back())) {
    in.shares.push_back({share.first - of_weight.back().first, share.last - of_weight.back().first});
  }
  out.shares = in.shares;
  const Range channels = weight_.own_channels();
  const Tensor own = domain_.mesh().size(Axis::tensor) == 1 ? x : slice(x, 1, channels.first, channels.last);
  return out.to_field(summed_over_channels(in.to_modes(own, 1.0 / points, weight_.order()), of_weight), x.dtype(), bias);
}

/// The weight's product, complete on every rank of the tensor axis.
Tensor SpectralConv::summed_over_channels(const Tensor& x, const std::vector<Range>& kept) const {
  const Mesh& mesh = domain_.mesh();
  const Tensor own = weight_(x, kept);
  if (!config_.separable) return all_reduce_sum(mesh, Axis::tensor, own);
  if (mesh.size(Axis::tensor) == 1) return own;
  Shape order;
  for (int dim = 0; dim < own.rank(); ++dim) order.push_back(dim);
  std::swap(order[0], order[1]);  // channels are the rows that are gathered
  return permute(all_gather(mesh, Axis::tensor, permute(own, order), part_sizes(config_.in_channels, mesh.size(Axis::tensor))), order);
}

}  // namespace trident
