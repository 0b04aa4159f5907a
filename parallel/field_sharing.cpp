#include "parallel/field_sharing.h"

#include <numeric>
#include <tuple>
#include <utility>

#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"

namespace trident {
namespace {

constexpr std::int64_t kNumbers = 6;  // of a piece: samples, rows, columns

/// (samples, everything in between, rows, columns).
Tensor with_four_axes(const Tensor& x, std::int64_t samples, std::int64_t rows, std::int64_t columns) {
  const std::int64_t points = samples * rows * columns;
  std::int64_t between = 1;
  if (points > 0) between = x.numel() / points;
  return view::reshape(packed(x), {samples, between, rows, columns});
}

Tensor view_of(const Tensor& whole, const FieldPiece& piece) {
  const auto& [rows, columns] = piece.rectangle;
  const Tensor samples = view::slice(whole, 0, piece.samples.first, piece.samples.last);
  return view::slice(view::slice(samples, 2, rows.first, rows.last), 3, columns.first, columns.last);
}

/// Copies between whole fields and pieces that lie one behind the other in `row`, from `begin` on.
template <class Copy>
void for_each_piece(const Tensor& whole, const Tensor& row, std::int64_t begin, const FieldPieces& pieces, Copy copy) {
  for (const FieldPiece& piece : pieces) {
    const Tensor place = view_of(whole, piece);
    copy(place, view::reshape(view::slice(row, 0, begin, begin + place.numel()), place.shape()));
    begin += place.numel();
  }
}

/// Every rank's rows of `width` numbers.
std::vector<std::vector<std::int64_t>> all_rows(Communicator& world, const std::vector<std::int64_t>& own) {
  const auto ranks = static_cast<std::size_t>(world.size());
  const Tensor sizes = empty({world.size()}, DType::i64);
  world.all_gather(from_values<std::int64_t>({1}, std::vector{static_cast<std::int64_t>(own.size())}), sizes,
                   std::vector<std::int64_t>(ranks, 1));
  const std::vector<std::int64_t> counts = to_host<std::int64_t>(sizes);
  const Tensor all = empty({std::accumulate(counts.begin(), counts.end(), std::int64_t{0})}, DType::i64);
  world.all_gather(from_values<std::int64_t>({static_cast<std::int64_t>(own.size())}, own), all, counts);
  std::vector<std::vector<std::int64_t>> rows;
  const std::int64_t* next = all.data<std::int64_t>();
  for (const std::int64_t count : counts) {
    rows.emplace_back(next, next + count);
    next += count;
  }
  return rows;
}

}  // namespace

std::int64_t rows_of(const FieldPieces& pieces) {
  std::int64_t rows = 0;
  for (const FieldPiece& piece : pieces) rows += piece.samples.size();
  return rows;
}

std::int64_t FieldSharing::Part::points() const {
  std::int64_t points = 0;
  for (const FieldPiece& piece : pieces) points += piece.points();
  return points;
}

FieldSharing::FieldSharing(const Mesh& mesh, FieldPieces own, std::int64_t samples, std::int64_t ny, std::int64_t nx, int num_dims)
    : mesh_(mesh), num_samples_(samples), ny_(ny), nx_(nx), has_rows_(num_dims > 1) {
  std::vector<std::int64_t> numbers{mesh_.coordinate(Axis::tensor)};
  for (const auto& [of_samples, rectangle] : own) {
    const auto& [rows, columns] = rectangle;
    numbers.insert(numbers.end(), {of_samples.first, of_samples.last, rows.first, rows.last, columns.first, columns.last});
  }
  mesh_.stream().synchronize();
  for (const std::vector<std::int64_t>& theirs : all_rows(mesh_.world(), numbers)) {
    Part& part = parts_.emplace_back();
    part.gathered = theirs.front() == 0;
    for (std::size_t at = 1; at < theirs.size(); at += kNumbers) {
      const std::int64_t* const n = theirs.data() + at;
      part.pieces.push_back({.samples = {n[0], n[1]}, .rectangle = {.rows = {n[2], n[3]}, .columns = {n[4], n[5]}}});
    }
  }
}

const FieldSharing::Part& FieldSharing::own() const { return parts_[static_cast<std::size_t>(mesh_.world().rank())]; }

Tensor FieldSharing::scatter(const Tensor& whole, const Shape& between, DType dtype, const Agree& agree) const {
  Communicator& world = mesh_.world();
  const bool first = world.rank() == 0;
  const std::int64_t numbers = numel(between);
  std::vector<std::int64_t> sends(parts_.size(), 0), receives(parts_.size(), 0);
  receives[0] = own().points() * numbers;
  Shape shape{rows_of(own().pieces)};
  for (const std::int64_t extent : between) shape.push_back(extent);
  if (has_rows_) shape.push_back(own().pieces.front().rectangle.rows.size());
  shape.push_back(own().pieces.front().rectangle.columns.size());
  mesh_.stream().synchronize();
  const auto [source, mine] = run_agreed(agree, [&] {
    std::int64_t total = 0;
    for (std::size_t rank = 0; first && rank < parts_.size(); ++rank) total += sends[rank] = parts_[rank].points() * numbers;
    const std::pair tensors{empty({total}, dtype), empty(shape, dtype)};
    const Tensor fields = first ? with_four_axes(whole, num_samples_, ny_, nx_) : Tensor{};
    std::int64_t begin = 0;
    for (std::size_t rank = 0; first && rank < parts_.size(); begin += sends[rank++]) {
      for_each_piece(fields, tensors.first, begin, parts_[rank].pieces,
                     [](const Tensor& field, const Tensor& row) { copy_into(row, field); });
    }
    return tensors;
  });
  world.all_to_all(source, sends, view::reshape(mine, {mine.numel()}), receives);
  return mine;
}

Tensor FieldSharing::gather(const Tensor& part, const Agree& agree) const {
  Communicator& world = mesh_.world();
  const bool first = world.rank() == 0;
  const std::int64_t numbers = own().points() > 0 ? part.numel() / own().points() : 0;
  std::vector<std::int64_t> sends(parts_.size(), 0), receives(parts_.size(), 0);
  mesh_.stream().synchronize();
  const auto [sent, target, whole] = run_agreed(agree, [&] {
    const Tensor mine = own().gathered ? view::reshape(to_device(packed(part), Device{}), {part.numel()}) : empty({0}, part.dtype());
    sends[0] = mine.numel();
    std::int64_t total = 0;
    for (std::size_t rank = 0; first && rank < parts_.size(); ++rank) {
      if (parts_[rank].gathered) total += receives[rank] = parts_[rank].points() * numbers;
    }
    return std::tuple{mine, empty({total}, part.dtype()), first ? empty({num_samples_, numbers, ny_, nx_}, part.dtype()) : Tensor{}};
  });
  world.all_to_all(sent, sends, target, receives);
  if (!first) return {};
  std::int64_t begin = 0;
  for (std::size_t rank = 0; rank < parts_.size(); begin += receives[rank++]) {
    if (!parts_[rank].gathered) continue;
    for_each_piece(whole, target, begin, parts_[rank].pieces, [](const Tensor& field, const Tensor& row) { copy_into(field, row); });
  }
  Shape shape = part.shape();
  shape[0] = num_samples_;
  shape[shape.rank() - 1] = nx_;
  if (has_rows_) shape[shape.rank() - 2] = ny_;
  return view::reshape(whole, shape);
}

}  // namespace trident
