#include "models/norm_loss.h"

#include <functional>
#include <numeric>

#include "runtime/error.h"
#include "runtime/ops/elementwise.h"
#include "runtime/ops/reduce.h"

namespace trident {
namespace {

Tensor root_of(const NormLoss& loss, const Tensor& sums) {
  const double p = loss.kind == NormKind::h1 ? 2.0 : loss.p;
  return loss.root && p != 1.0 ? power(sums, 1.0 / p) : sums;
}

}  // namespace

std::vector<double> spacings_of(const NormLoss& loss, const std::vector<std::int64_t>& points) {
  if (!loss.spacings.empty()) return loss.spacings;
  std::vector<double> spacings;
  for (std::size_t axis = 0; axis < points.size(); ++axis) {
    spacings.push_back((loss.measure.empty() ? 1.0 : loss.measure[axis]) / static_cast<double>(points[axis]));
  }
  return spacings;
}

std::vector<std::int64_t> points_of(const NormLoss& loss, const Tensor& x) {
  if (loss.axes < 1 || loss.axes >= x.rank()) {
    throw ShapeError(concat("loss: fields ", to_string(x.shape()), " have no ", loss.axes, " space axes behind samples and channels"));
  }
  std::vector<std::int64_t> points;
  for (int axis = -loss.axes; axis < 0; ++axis) points.push_back(x.size(axis));
  return points;
}

std::vector<Neighbours> neighbours_of(const NormLoss& loss, const Tensor& x) {
  std::vector<Neighbours> neighbours(static_cast<std::size_t>(loss.axes));
  for (int axis = 0; axis < loss.axes; ++axis) {
    if (!loss.is_periodic(axis)) neighbours[static_cast<std::size_t>(axis)] = one_sided_neighbours(x, axis - loss.axes);
  }
  return neighbours;
}

Tensor norm_sums(const NormLoss& loss, const Tensor& x, const std::vector<double>& spacings, const std::vector<Neighbours>& neighbours) {
  return loss.kind == NormKind::lp ? power_sums(x, loss.axes, loss.p) : sobolev_sums(x, spacings, neighbours);
}

Tensor norm_terms(const NormLoss& loss, const Tensor& error_sums, const Tensor& label_sums, const std::vector<double>& spacings) {
  if (loss.relation == Relation::relative) return root_of(loss, error_sums) / affine(root_of(loss, label_sums), 1.0, loss.eps);
  return root_of(loss, affine(error_sums, std::accumulate(spacings.begin(), spacings.end(), 1.0, std::multiplies<>())));
}

Tensor norm_terms(const NormLoss& loss, const Tensor& output, const Tensor& label) {
  const std::vector<double> spacings = spacings_of(loss, points_of(loss, output));
  const auto sums_of = [&](const Tensor& x) {
    return sums_of_reals(loss, x, [&](const Tensor& part) {
      return norm_sums(loss, part, spacings, loss.kind == NormKind::h1 ? neighbours_of(loss, part) : std::vector<Neighbours>{});
    });
  };
  const Tensor errors = sums_of(output - label);
  return norm_terms(loss, errors, loss.relation == Relation::relative ? sums_of(label) : Tensor{}, spacings);
}

Tensor norm_loss(const NormLoss& loss, const Tensor& output, const Tensor& label) {
  const Tensor terms = norm_terms(loss, output, label);
  return affine(sum(terms), loss.reduction == Reduction::mean ? 1.0 / static_cast<double>(terms.numel()) : 1.0);
}

}  // namespace trident
