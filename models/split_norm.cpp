#include "models/split_norm.h"

#include <algorithm>
#include <vector>

#include "parallel/collectives.h"
#include "parallel/exchange.h"
#include "parallel/exchange_plan.h"
#include "runtime/error.h"
#include "runtime/ops/elementwise.h"
#include "runtime/ops/shape.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

constexpr AxisSet kDomainAxes = Axis::domain_y | Axis::domain_x;

/// The rectangles of all domain ranks, which only tell their sizes: ranks with the same domain_y have the same rows.
class Rectangles {
 public:
  Rectangles(const Mesh& mesh, std::int64_t samples, std::int64_t rows, std::int64_t columns)
      : ranks_x_(mesh.size(Axis::domain_x)), rank_(mesh.comm(kDomainAxes).rank()) {
    const int ranks = mesh.size(kDomainAxes);
    const Tensor sizes = empty({ranks, 2}, DType::i64);
    const Tensor own = from_values<std::int64_t>({1, 2}, std::vector{rows, columns});
    mesh.stream().enqueue(
        [&] { mesh.comm(kDomainAxes).all_gather(own, sizes, std::vector<std::int64_t>(static_cast<std::size_t>(ranks), 2)); });
    mesh.stream().synchronize();
    const std::vector<std::int64_t> numbers = to_host<std::int64_t>(sizes);
    const auto size_of = [&](int ry, int rx, int axis) { return numbers[static_cast<std::size_t>(2 * (ry * ranks_x_ + rx) + axis)]; };
    for (int ry = 0; ry < ranks / ranks_x_; ++ry, ny_ += size_of(ry - 1, 0, 0)) {
      nx_ = 0;
      for (int rx = 0; rx < ranks_x_; ++rx, nx_ += size_of(0, rx - 1, 1)) {
        boxes_.push_back({{0, samples}, {ny_, ny_ + size_of(ry, rx, 0)}, {nx_, nx_ + size_of(ry, rx, 1)}});
      }
    }
  }

  std::int64_t points(int axis) const { return axis == 0 ? ny_ : nx_; }
  /// Of the smallest rectangle, as every rank must refuse what one cannot do.
  std::int64_t fewest_points(int axis) const {
    std::int64_t fewest = points(axis);
    for (const GridBox& box : boxes_) fewest = std::min(fewest, of(box, axis).size());
    return fewest;
  }
  const Range& own(int axis) const { return of(boxes_[static_cast<std::size_t>(rank_)], axis); }
  /// Own rows (or columns) -> the one before or after them, around the field's edges.
  ExchangePlan beside(int axis, bool before) const {
    std::vector<Sites> wanted;
    for (const GridBox& box : boxes_) {
      Sites sites = sites_of(box);
      const Range& range = of(box, axis);
      const std::int64_t n = points(axis), index = before ? (range.first + n - 1) % n : range.last % n;
      (axis == 0 ? sites.rows : sites.columns) = {{index, index + 1}};
      wanted.push_back(std::move(sites));
    }
    return {boxes_, wanted, rank_};
  }

 private:
  static const Range& of(const GridBox& box, int axis) { return axis == 0 ? box.rows : box.columns; }

  int ranks_x_, rank_;
  std::int64_t ny_ = 0, nx_ = 0;
  std::vector<GridBox> boxes_;
};

/// Fields of any dimensions as (sample, y, x, numbers), and a face of them back in the field's shape.
Tensor as_sites(const Tensor& x) {
  const std::int64_t nx = x.size(-1), ny = x.rank() > 3 ? x.size(-2) : 1;
  return contiguous(permute(reshape(x, {x.size(0), x.numel() == 0 ? 0 : x.numel() / (x.size(0) * ny * nx), ny, nx}), {0, 2, 3, 1}));
}
Tensor as_face(const Tensor& sites, const Shape& shape) { return reshape(contiguous(permute(sites, {0, 3, 1, 2})), shape); }

Neighbours beside(const NormLoss& norm, const Mesh& mesh, const Rectangles& rectangles, const Tensor& x, int axis) {
  const int dim = x.rank() - norm.axes + axis;
  Shape face = x.shape();
  face[dim] = 1;
  const int grid_axis = axis - norm.axes + 2;
  if (grid_axis < 0) return norm.is_periodic(axis) ? Neighbours{} : one_sided_neighbours(x, dim);  // the first axis of three is whole
  const Tensor sites = as_sites(x);
  const auto from = [&](bool before) { return as_face(exchange(mesh, rectangles.beside(grid_axis, before), sites), face); };
  const Neighbours others{from(true), from(false)};
  if (norm.is_periodic(axis)) return others;
  if (const std::int64_t fewest = rectangles.fewest_points(grid_axis); fewest < 4) {
    throw ConfigError(
        concat("loss: a rank's rectangle has ", fewest, " points along axis ", axis,
               ", but one-sided differences need 4; use fewer ranks along it, or set training.loss_options.periodic to true"));
  }
  const Neighbours edges = one_sided_neighbours(x, dim);
  const auto chosen = [&](bool at_edge, const Tensor& edge, const Tensor& other) {
    const Tensor mask = empty({1}, DType::boolean);
    *mask.data<bool>() = at_edge;
    return where(to_device(mask, x.device()), edge, other);
  };
  return {chosen(rectangles.own(grid_axis).first == 0, edges.before, others.before),
          chosen(rectangles.own(grid_axis).last == rectangles.points(grid_axis), edges.after, others.after)};
}

}  // namespace

Tensor split_norm_terms(const NormLoss& norm, const Tensor& output, const Tensor& label, const Mesh& mesh) {
  const Tensor error = output - label;
  std::vector<std::int64_t> points = points_of(norm, error);
  const Rectangles rectangles(mesh, error.size(0), error.rank() > 3 ? error.size(-2) : 1, error.size(-1));
  points.back() = rectangles.points(1);
  if (points.size() > 1) points[points.size() - 2] = rectangles.points(0);
  const std::vector<double> spacings = spacings_of(norm, points);
  const auto sums_of_real = [&](const Tensor& x) {
    std::vector<Neighbours> neighbours;
    for (int axis = 0; norm.kind == NormKind::h1 && axis < norm.axes; ++axis) neighbours.push_back(beside(norm, mesh, rectangles, x, axis));
    return norm_sums(norm, x, spacings, neighbours);
  };
  const auto sums_of = [&](const Tensor& x) { return sums_of_reals(norm, x, sums_of_real); };
  const std::int64_t samples = error.size(0);
  const Tensor sums = all_reduce_sum(mesh, kDomainAxes, concatenate({sums_of(error), sums_of(label)}, 0));
  return norm_terms(norm, slice(sums, 0, 0, samples), slice(sums, 0, samples, 2 * samples), spacings);
}

}  // namespace trident
