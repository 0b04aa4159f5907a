#include "models/layers/spectral_exchange.h"

#include "models/layers/field_place.h"
#include "parallel/collectives.h"
#include "runtime/ops/elementwise.h"
#include "runtime/ops/shape.h"

namespace trident {
namespace {

constexpr AxisSet kDomain = Axis::domain_y | Axis::domain_x;

std::vector<std::int64_t> sizes_of(const std::vector<Range>& ranges) {
  std::vector<std::int64_t> sizes;
  for (const Range& range : ranges) sizes.push_back(range.size());
  return sizes;
}

/// Collectives count rows of the first dimension: the last one goes there, and back.
Tensor last_first(const Tensor& x) {
  Shape order{x.rank() - 1};
  for (int dim = 0; dim + 1 < x.rank(); ++dim) order.push_back(dim);
  return permute(x, order);
}
Tensor first_last(const Tensor& x) {
  Shape order;
  for (int dim = 1; dim < x.rank(); ++dim) order.push_back(dim);
  order.push_back(0);
  return permute(x, order);
}

std::int64_t samples_of(const Tensor& x) {
  std::int64_t samples = 1;
  for (int dim = 0; dim + 2 < x.rank(); ++dim) samples *= x.size(dim);
  return samples;
}

FourierAxis untouched(std::int64_t extent) { return {.period = 0, .first_point = 0, .points = extent, .first_mode = 0, .modes = extent}; }

}  // namespace

Rectangle SpectralExchange::own_rectangle() const { return domain.rectangle(rows(), axes.back().period); }

Range SpectralExchange::pencil_rows(int rank) const {
  const Range strip = part_of(rows(), domain.ranks_y(), rank / domain.ranks_x());
  const Range part = part_of(strip.size(), domain.ranks_x(), rank % domain.ranks_x());
  return {strip.first + part.first, strip.first + part.last};
}

double SpectralExchange::numbers_sent(SpectralWay way, std::int64_t samples) const {
  double total = 0.0;
  if (way == SpectralWay::partial_sums) {
    total = domain.ranks() - 1;
    for (const FourierAxis& axis : axes) total *= static_cast<double>(axis.modes);
    return total * static_cast<double>(samples);
  }
  const double point = numbers == FieldNumbers::real ? 0.5 : 1.0;
  const std::int64_t columns = axes.back().period;
  for (int rank = 0; rank < domain.ranks(); ++rank) {
    const std::int64_t here = pencil_rows(rank).size(), own_columns = part_of(columns, domain.ranks_x(), rank % domain.ranks_x()).size();
    total += static_cast<double>((rows() - here) * shares[static_cast<std::size_t>(rank)].size());
    total += point * static_cast<double>(here * (columns - own_columns));
  }
  for (std::size_t i = 0; i + 2 < axes.size(); ++i) total *= static_cast<double>(axes[i].period);
  return total * static_cast<double>(samples);
}

SpectralWay SpectralExchange::way(std::int64_t samples) const {
  if (axes.size() == 1) return SpectralWay::partial_sums;
  const bool pencil = numbers_sent(SpectralWay::pencil, samples) < numbers_sent(SpectralWay::partial_sums, samples);
  return pencil ? SpectralWay::pencil : SpectralWay::partial_sums;
}

ExchangePlan SpectralExchange::to_rows(std::int64_t samples) const {
  std::vector<GridBox> pencils;
  for (int rank = 0; rank < domain.ranks(); ++rank) pencils.push_back({{0, samples}, pencil_rows(rank), {0, axes.back().period}});
  return domain.plan(domain.rectangles(samples, rows(), axes.back().period), pencils);
}

ExchangePlan SpectralExchange::to_columns(std::int64_t samples) const {
  std::vector<GridBox> pencils, columns;
  for (int rank = 0; rank < domain.ranks(); ++rank) {
    pencils.push_back({{0, samples}, pencil_rows(rank), {0, axes.back().modes}});
    columns.push_back({{0, samples}, {0, rows()}, shares[static_cast<std::size_t>(rank)]});
  }
  return domain.plan(pencils, columns);
}

std::vector<FourierAxis> SpectralExchange::local_axes() const {
  const Rectangle own = own_rectangle();
  std::vector<FourierAxis> local = axes;
  local.back().first_point = own.columns.first, local.back().points = own.columns.size();
  if (local.size() == 1) return local;
  FourierAxis& y = local[local.size() - 2];
  y.first_point = own.rows.first, y.points = own.rows.size();
  return local;
}

std::vector<FourierAxis> SpectralExchange::last_axis_only() const { return {untouched(pencil_rows(domain.rank()).size()), axes.back()}; }

std::vector<FourierAxis> SpectralExchange::other_axes() const {
  std::vector<FourierAxis> others = axes;
  others.back() = untouched(own_modes());
  return others;
}

Tensor SpectralExchange::to_modes(const Tensor& x, double scale, ModeOrder order) const {
  if (domain.ranks() == 1) return fourier_modes(x, axes, scale, order);
  if (way(x.size(0) * x.size(1)) == SpectralWay::partial_sums) {
    const Tensor parts = fourier_modes(x, local_axes(), scale);
    return first_last(reduce_scatter(domain.mesh(), kDomain, last_first(parts), sizes_of(shares)));
  }
  const std::int64_t samples = samples_of(x);
  const Mesh& mesh = domain.mesh();
  const Tensor rows_here = moved(mesh, to_rows(samples), x, pencil_rows(domain.rank()).size(), axes.back().period);
  const Tensor along_x = fourier_modes(rows_here, last_axis_only(), scale);
  return fourier_modes(moved(mesh, to_columns(samples), along_x, rows(), own_modes()), other_axes(), 1.0, order);
}

Tensor SpectralExchange::to_field(const Tensor& modes, DType real_type, const Tensor& bias) const {
  if (domain.ranks() == 1) return fourier_field(modes, axes, numbers, real_type, bias);
  if (bias.defined()) return to_field(modes, real_type) + bias;
  if (way(modes.size(0) * modes.size(1)) == SpectralWay::partial_sums) {
    const Tensor all = first_last(all_gather(domain.mesh(), kDomain, last_first(modes), sizes_of(shares)));
    return fourier_field(all, local_axes(), numbers, real_type);
  }
  const Tensor along_others = fourier_field(modes, other_axes(), FieldNumbers::complex);
  const std::int64_t samples = samples_of(along_others);
  const Mesh& mesh = domain.mesh();
  const Rectangle own = own_rectangle();
  const Tensor rows_here =
      moved(mesh, to_columns(samples).transposed(), along_others, pencil_rows(domain.rank()).size(), axes.back().modes);
  const Tensor field = fourier_field(rows_here, last_axis_only(), numbers, real_type);
  return moved(mesh, to_rows(samples).transposed(), field, own.rows.size(), own.columns.size());
}

}  // namespace trident
