#include "models/fno/fno.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "models/layers/grid_embedding.h"
#include "parallel/collectives.h"
#include "runtime/autograd/tape.h"
#include "runtime/error.h"
#include "runtime/ops/shape.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

RealOrComplex<ChannelMlp> make_lifting(const FnoConfig& c, const Mesh& mesh) {
  const int in = c.in_channels + (c.positional_embedding ? c.num_dims() : 0);
  // 0.3.0 lifts through GELU whatever function the blocks have.
  const NonLinearity function = c.block_variant == BlockVariant::v0_3 ? NonLinearity::gelu : c.non_linearity;
  return RealOrComplex<ChannelMlp>::make(c.complex_data, ChannelMlp(in, c.lifting_width(), c.hidden_channels, function, mesh));
}

RealOrComplex<ChannelMlp> make_projection(const FnoConfig& c, const Mesh& mesh) {
  return RealOrComplex<ChannelMlp>::make(c.complex_data,
                                         ChannelMlp(c.hidden_channels, c.projection_width(), c.out_channels, c.non_linearity, mesh));
}

/// Coordinates are real: beside the imaginary part stand zeros.
Parts with_grid(const Parts& x, const FieldPlace& place) {
  Parts result{append_grid(x[0], place)};
  if (x.size() == 1) return result;
  Shape shape = x[1].shape();
  shape[1] = x[1].rank() - 2;
  result.push_back(concatenate({x[1], zeros(shape, x[1].dtype(), x[1].device())}, 1));
  return result;
}

void note(std::vector<Tensor>* hidden, const Parts& x) {
  if (hidden != nullptr) hidden->insert(hidden->end(), x.begin(), x.end());
}

}  // namespace

Fno::Fno(FnoConfig config, std::string type, const Mesh& mesh, const Mesh& batch)
    : config_(std::move(config)),
      type_(std::move(type)),
      domain_(mesh),
      padding_(config_.padding(), config_.domain_padding_mode),
      blocks_(config_, mesh, batch),
      lifting_(make_lifting(config_, mesh)),
      projection_(make_projection(config_, mesh)) {
  const auto changes = [](const std::vector<double>& layer) {
    return std::ranges::any_of(layer, [](double factor) { return factor != 1.0; });
  };
  if (domain_.ranks() > 1 && std::ranges::any_of(config_.scaling(), changes)) {
    throw ConfigError(
        concat("model.resolution_scaling_factor: fields that change their resolution inside the model are not shared out, and "
               "there are ",
               domain_.ranks(), " domain ranks; set parallel.domain_y and parallel.domain_x to 1, or take it out"));
  }
}

void Fno::visit(const ParameterVisitor& visitor) { walk(*this, visitor); }

Parts Fno::parts_of(const Fields& fields, DType precision) const {
  const Tensor& input = fields.input;
  if (input.rank() != num_dims() + 2 || input.size(1) != config_.in_channels) {
    throw ShapeError(concat(type_, ": the input is ", to_string(input.shape()), "; the model takes (batch, ", config_.in_channels, ", and ",
                            num_dims(), num_dims() == 1 ? " space dimension)" : " space dimensions)",
                            " as model.n_modes and in_channels say"));
  }
  if (trident::is_complex(input.dtype()) != config_.complex_data) {
    throw ShapeError(concat(type_, ": the input is ", name_of(input.dtype()), ", but the model takes ",
                            config_.complex_data ? "complex" : "real", " fields; set model.complex_data to ",
                            config_.complex_data ? "false" : "true", ", or give other fields"));
  }
  if (uses_time() && fields.time.shape() != Shape{input.size(0)}) {
    throw ShapeError(concat(type_, ": the time is ", fields.time.defined() ? to_string(fields.time.shape()) : "missing",
                            "; norm ada_in needs one lead time for each of the ", input.size(0), " samples"));
  }
  return cast_parts(split(input), parameter_type(precision));
}

std::vector<double> Fno::total_scaling() const {
  std::vector<double> total(config_.n_modes.size(), 1.0);
  for (const std::vector<double>& layer : config_.scaling()) {
    for (std::size_t dim = 0; dim < total.size(); ++dim) total[dim] *= layer[dim];
  }
  return total;
}

/// Where the input lies in the whole field.
FieldPlace Fno::place_of(const Fields& fields) const {
  const Tensor& x = fields.input;
  std::vector<std::int64_t> extents(x.shape().begin() + 2, x.shape().end());
  if (domain_.ranks() == 1) return {domain_, extents};
  std::int64_t ny = fields.ny, nx = fields.nx;
  const bool has_rows = extents.size() > 1;
  if (nx == 0) {
    const Tensor sums = from_values<std::int64_t>({2}, std::vector{has_rows ? x.size(-2) : 1, x.size(-1)});
    sum_in_place(domain_.mesh(), Axis::domain_y | Axis::domain_x, sums);
    ny = sums.data<std::int64_t>()[0] / domain_.ranks_x(), nx = sums.data<std::int64_t>()[1] / domain_.ranks_y();
  }
  extents.back() = nx;
  if (has_rows) extents[extents.size() - 2] = ny;
  const FieldPlace place(domain_, extents);
  for (std::size_t dim = 0; dim < extents.size(); ++dim) {
    if (place.own(dim).size() == x.size(static_cast<int>(dim) + 2)) continue;
    throw ShapeError(concat(type_, ": the input is ", to_string(x.shape()), ", but this rank's rectangle of fields of ",
                            to_string(Shape(extents)), " points has ", place.own(dim).size(), " points along dimension ", dim));
  }
  return place;
}

Tensor Fno::call(const Fields& fields, const Prepared&, const Pass& pass, std::vector<Tensor>* hidden) const {
  const Parts input = parts_of(fields, pass.precision);
  const Tensor time = uses_time() ? cast(fields.time, parameter_type(pass.precision)) : Tensor{};
  const FieldPlace place = place_of(fields);
  Parts x = lifting_(cast_parts(config_.positional_embedding ? with_grid(input, place) : input, pass.precision), place, pass);
  note(hidden, x);
  x = for_each_part(x, [&](const Tensor& part) { return padding_.pad(part, place); });
  FieldPlace inside = place.of(padding_.padded(place.extents()));
  for (std::size_t index = 0; index < static_cast<std::size_t>(config_.n_layers); ++index) {
    if (pass.recompute == Recompute::none) {
      x = blocks_(index, x, inside, time, pass);
    } else {
      x = cast_parts(split(recompute([this, index, x, inside, time, pass] { return joined(blocks_(index, x, inside, time, pass)); })),
                     pass.precision);
    }
    inside = inside.of(blocks_.scaled(index, inside.extents()));
    note(hidden, x);
  }
  x = for_each_part(x, [&](const Tensor& part) { return padding_.unpad(part, place, total_scaling()); });
  x = cast_parts(projection_(x, place, pass), parameter_type(pass.precision));
  if (config_.complex_data) return joined(x);
  if (!fields.pixel_mask.defined()) return x[0];
  Tensor mask = fields.pixel_mask;
  if (mask.rank() == 2) {
    Shape shape = per_channel(x[0].rank(), mask.size(1));
    shape[0] = mask.size(0);
    mask = reshape(mask, shape);
  }
  return where(mask, cast(fields.label, x[0].dtype()), x[0]);
}

ConfigValue Fno::config() const {
  ConfigValue document = ConfigValue::map({{"type", type_}});
  const ConfigValue own = write_config(config_);
  for (const auto& [key, value] : own.entries()) document.set(key, value);
  return document;
}

LossDescription Fno::loss() const {
  // The reference's losses are sums over the batch; means do not depend on its size, and Adam does not see the difference.
  NormLoss norm{.kind = NormKind::lp, .axes = num_dims()};
  norm.reduction = Reduction::mean;
  return {.p = 2, .groups = {{0, config_.out_channels}}, .norm = norm};
}

std::vector<std::int64_t> Fno::output_extents(const std::vector<std::int64_t>& extents) const {
  if (extents.size() != config_.n_modes.size()) {
    throw ShapeError(
        concat(type_, ": the fields have ", extents.size(), " space dimensions; the model has ", num_dims(), ", as model.n_modes says"));
  }
  return padding_.unpadded(blocks_.extents_after(padding_.padded(extents)), extents, total_scaling());
}

/// Of all blocks: two transforms of each channel, and the products with the weights of the modes.
double Fno::spectral_flops(std::int64_t batch, const std::vector<std::int64_t>& extents) const {
  double points = 1.0;
  std::vector<std::int64_t> modes;
  for (std::size_t dim = 0; dim < extents.size(); ++dim) {
    const bool halved = !config_.complex_data && dim + 1 == extents.size();
    const auto kept = std::min<std::int64_t>(config_.n_modes[dim], extents[dim]);
    points *= static_cast<double>(extents[dim]);
    modes.push_back(halved ? kept / 2 + 1 : kept);
  }
  const double fields = static_cast<double>(batch * config_.hidden_channels * config_.n_layers);
  return 2.0 * fields * (config_.complex_data ? 5.0 : 2.5) * points * std::log2(std::max(2.0, points)) +
         blocks_.spectral_flops(batch, modes);
}

double Fno::forward_flops(std::int64_t batch, const std::vector<std::int64_t>& extents) const {
  if (extents.size() != config_.n_modes.size()) return 0.0;
  const auto points_of = [](const std::vector<std::int64_t>& field) {
    return std::accumulate(field.begin(), field.end(), 1.0,
                           [](double product, std::int64_t extent) { return product * static_cast<double>(extent); });
  };
  const std::vector<std::int64_t> padded = padding_.padded(extents);
  const double copies = config_.complex_data ? 4.0 : 1.0;
  const double ends = copies * (lifting_.real.flops() + projection_.real.flops()) * points_of(extents);
  const double pointwise = blocks_.pointwise_flops() * points_of(padded);
  return static_cast<double>(batch) * (ends + pointwise) + spectral_flops(batch, padded);
}

}  // namespace trident
