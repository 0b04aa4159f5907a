#include "models/layers/field_place.h"

#include "parallel/exchange.h"
#include "runtime/ops/shape.h"

namespace trident {
namespace {

/// Rows and columns of all samples, channels and leading dimensions. A field of one dimension is one row of each.
std::int64_t planes_of(const Tensor& x, bool has_rows) {
  std::int64_t planes = 1;
  for (int dim = 0; dim < x.rank() - (has_rows ? 2 : 1); ++dim) planes *= x.size(dim);
  return planes;
}

/// A field of one dimension with its one row.
Tensor with_rows(const Tensor& x, bool has_rows) {
  if (has_rows) return x;
  return reshape(x, {x.size(0), x.size(1), 1, x.size(2)});
}
Tensor without_rows(const Tensor& x, bool has_rows) {
  if (has_rows) return x;
  return reshape(x, {x.size(0), x.size(1), x.size(3)});
}

Range shifted(const Range& range, std::int64_t by) { return {range.first + by, range.last + by}; }

}  // namespace

Tensor moved(const Mesh& mesh, const ExchangePlan& plan, const Tensor& x, std::int64_t rows, std::int64_t columns) {
  const Shape& source = plan.source();
  Shape result = x.shape();
  result[x.rank() - 2] = rows, result[x.rank() - 1] = columns;
  return reshape(exchange(mesh, plan, reshape(x, {source[0], source[1], source[2], 1})), result);
}

FieldPlace::FieldPlace(Domain domain, std::vector<std::int64_t> extents)
    : domain_(std::move(domain)), extents_(std::move(extents)), own_(domain_.rectangle(rows(), extents_.back())) {}

double FieldPlace::points() const {
  double points = 1.0;
  for (const std::int64_t extent : extents_) points *= static_cast<double>(extent);
  return points;
}

Range FieldPlace::own(std::size_t dim) const {
  if (dim + 1 == extents_.size()) return own_.columns;
  return dim + 2 == extents_.size() ? own_.rows : Range{0, extents_[dim]};
}

Tensor FieldPlace::with_margin(const Tensor& x, std::int64_t before, std::int64_t after) const {
  const std::size_t dims = extents_.size();
  Tensor wide = x;
  for (std::size_t dim = 0; dim < dims; ++dim) {
    if (is_whole() || dim + 2 < dims) wide = pad(wide, static_cast<int>(dim) + 2, before, after);
  }
  if (is_whole()) return wide;
  const std::vector<GridBox> owned = domain_.rectangles(planes_of(wide, has_rows()), rows(), extents_.back());
  std::vector<Sites> wanted;
  for (const GridBox& box : owned) {
    const auto wider = [&](const Range& range) { return Indices{{range.first - before, range.last + after}}; };
    wanted.push_back({{box.samples}, has_rows() ? wider(box.rows) : Indices{box.rows}, wider(box.columns)});
  }
  const std::int64_t margin = before + after, own_rows = own_.rows.size() + (has_rows() ? margin : 0);
  const Tensor result = moved(mesh(), domain_.plan(owned, wanted), with_rows(wide, has_rows()), own_rows, own_.columns.size() + margin);
  return without_rows(result, has_rows());
}

FieldPlace FieldPlace::padded_place(const std::vector<std::int64_t>& before, const std::vector<std::int64_t>& after) const {
  std::vector<std::int64_t> extents = extents_;
  for (std::size_t dim = 0; dim < extents.size(); ++dim) extents[dim] += before[dim] + after[dim];
  return of(std::move(extents));
}

/// From rectangles of this field to those of the wide one, which are elsewhere.
ExchangePlan FieldPlace::padding_plan(const FieldPlace& wide, std::int64_t planes, std::int64_t rows_before,
                                      std::int64_t columns_before) const {
  std::vector<Sites> wanted;
  for (const GridBox& box : domain_.rectangles(planes, wide.rows(), wide.extents_.back())) {
    wanted.push_back({{box.samples}, {shifted(box.rows, -rows_before)}, {shifted(box.columns, -columns_before)}});
  }
  return domain_.plan(domain_.rectangles(planes, rows(), extents_.back()), wanted);
}

Tensor FieldPlace::padded(const Tensor& x, const std::vector<std::int64_t>& before, const std::vector<std::int64_t>& after) const {
  const std::size_t dims = extents_.size();
  Tensor y = x;
  for (std::size_t dim = 0; dim < dims; ++dim) {
    const bool local = is_whole() || dim + 2 < dims;
    if (local && before[dim] + after[dim] > 0) y = pad(y, static_cast<int>(dim) + 2, before[dim], after[dim]);
  }
  if (is_whole()) return y;
  const FieldPlace wide = padded_place(before, after);
  const ExchangePlan plan = padding_plan(wide, planes_of(y, has_rows()), has_rows() ? before[dims - 2] : 0, before.back());
  return without_rows(moved(mesh(), plan, with_rows(y, has_rows()), wide.own_.rows.size(), wide.own_.columns.size()), has_rows());
}

Tensor FieldPlace::unpadded(const Tensor& x, const std::vector<std::int64_t>& before, const std::vector<std::int64_t>& after) const {
  const std::size_t dims = extents_.size();
  Tensor y = x;
  if (!is_whole()) {
    const FieldPlace wide = padded_place(before, after);
    const ExchangePlan plan = padding_plan(wide, planes_of(y, has_rows()), has_rows() ? before[dims - 2] : 0, before.back()).transposed();
    y = without_rows(moved(mesh(), plan, with_rows(y, has_rows()), own_.rows.size(), own_.columns.size()), has_rows());
  }
  for (std::size_t dim = 0; dim < dims; ++dim) {
    const bool local = is_whole() || dim + 2 < dims;
    if (local && before[dim] + after[dim] > 0) y = slice(y, static_cast<int>(dim) + 2, before[dim], before[dim] + extents_[dim]);
  }
  return y;
}

}  // namespace trident
