#include "parallel/field_sharing.h"

#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"

namespace trident {
namespace {

constexpr std::int64_t kNumbers = 7;  // of a part: samples, rows, columns, and whether it is gathered

/// (samples, everything in between, rows, columns).
Tensor with_four_axes(const Tensor& x, std::int64_t samples, std::int64_t rows, std::int64_t columns) {
  const std::int64_t points = samples * rows * columns;
  std::int64_t between = 1;
  if (points > 0) between = x.numel() / points;
  return view::reshape(packed(x), {samples, between, rows, columns});
}

}  // namespace

FieldSharing::FieldSharing(const Mesh& mesh, std::int64_t samples, const Rectangle& rectangle, std::int64_t ny, std::int64_t nx,
                           int num_dims)
    : mesh_(mesh), num_samples_(samples), ny_(ny), nx_(nx), has_rows_(num_dims > 1) {
  Communicator& world = mesh_.world();
  const Range mine = part_of(samples, mesh_.size(Axis::data), mesh_.coordinate(Axis::data));
  const Tensor all = empty({world.size(), kNumbers}, DType::i64);
  mesh_.stream().synchronize();
  world.all_gather(from_values<std::int64_t>({1, kNumbers}, std::vector<std::int64_t>{mine.first, mine.last, rectangle.rows.first,
                                                                                      rectangle.rows.last, rectangle.columns.first,
                                                                                      rectangle.columns.last, mesh_.coordinate(Axis::tensor)}),
                   all, std::vector<std::int64_t>(static_cast<std::size_t>(world.size()), kNumbers));
  for (int rank = 0; rank < world.size(); ++rank) {
    const std::int64_t* const n = all.data<std::int64_t>() + rank * kNumbers;
    parts_.push_back({.samples = {n[0], n[1]}, .rectangle = {.rows = {n[2], n[3]}, .columns = {n[4], n[5]}}, .gathered = n[6] == 0});
  }
}

const FieldSharing::Part& FieldSharing::own() const { return parts_[static_cast<std::size_t>(mesh_.world().rank())]; }

Tensor FieldSharing::view_of(const Tensor& whole, const Part& part) const {
  const auto& [rows, columns] = part.rectangle;
  const Tensor samples = view::slice(whole, 0, part.samples.first, part.samples.last);
  return view::slice(view::slice(samples, 2, rows.first, rows.last), 3, columns.first, columns.last);
}

Tensor FieldSharing::scatter(const Tensor& whole, const Shape& between, DType dtype) const {
  Communicator& world = mesh_.world();
  const bool first = world.rank() == 0;
  const std::int64_t numbers = numel(between);
  std::vector<std::int64_t> sends(parts_.size(), 0), receives(parts_.size(), 0);
  std::int64_t total = 0;
  for (std::size_t rank = 0; first && rank < parts_.size(); ++rank) {
    sends[rank] = parts_[rank].points() * numbers;
    total += sends[rank];
  }
  receives[0] = own().points() * numbers;
  const Tensor source = empty({total}, dtype);
  std::int64_t begin = 0;
  for (std::size_t rank = 0; first && rank < parts_.size(); ++rank) {
    const Tensor part = view_of(with_four_axes(whole, num_samples_, ny_, nx_), parts_[rank]);
    copy_into(view::reshape(view::slice(source, 0, begin, begin + sends[rank]), part.shape()), part);
    begin += sends[rank];
  }
  Shape shape{own().samples.size()};
  for (const std::int64_t extent : between) shape.push_back(extent);
  if (has_rows_) shape.push_back(own().rectangle.rows.size());
  shape.push_back(own().rectangle.columns.size());
  const Tensor mine = empty(shape, dtype);
  mesh_.stream().synchronize();
  world.all_to_all(source, sends, view::reshape(mine, {mine.numel()}), receives);
  return mine;
}

Tensor FieldSharing::gather(const Tensor& part) const {
  Communicator& world = mesh_.world();
  const bool first = world.rank() == 0;
  const std::int64_t numbers = own().points() > 0 ? part.numel() / own().points() : 0;
  std::vector<std::int64_t> sends(parts_.size(), 0), receives(parts_.size(), 0);
  if (own().gathered) sends[0] = part.numel();
  std::int64_t total = 0;
  for (std::size_t rank = 0; first && rank < parts_.size(); ++rank) {
    if (parts_[rank].gathered) receives[rank] = parts_[rank].points() * numbers;
    total += receives[rank];
  }
  const Tensor target = empty({total}, part.dtype());
  mesh_.stream().synchronize();
  const Tensor sent = own().gathered ? view::reshape(packed(part), {part.numel()}) : empty({0}, part.dtype());
  world.all_to_all(sent, sends, target, receives);
  if (!first) return {};
  const Tensor whole = empty({num_samples_, numbers, ny_, nx_}, part.dtype());
  std::int64_t begin = 0;
  for (std::size_t rank = 0; rank < parts_.size(); ++rank) {
    if (!parts_[rank].gathered) continue;
    const Tensor place = view_of(whole, parts_[rank]);
    copy_into(place, view::reshape(view::slice(target, 0, begin, begin + receives[rank]), place.shape()));
    begin += receives[rank];
  }
  Shape shape = part.shape();
  shape[0] = num_samples_;
  shape[shape.rank() - 1] = nx_;
  if (has_rows_) shape[shape.rank() - 2] = ny_;
  return view::reshape(whole, shape);
}

}  // namespace trident
