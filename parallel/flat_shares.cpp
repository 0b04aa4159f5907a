#include "parallel/flat_shares.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "runtime/error.h"

namespace trident {
namespace {

/// Elements of an entry on a rank, taken from the whole tensors alone.
std::int64_t even_share(const ParameterList::Entry& entry, const Mesh& mesh) {
  std::int64_t whole = 0;
  for (const NamedPiece& piece : entry.pieces) whole += reals_in(piece.piece.full_shape, piece.piece.numbers);
  return whole / mesh.size(AxisSet::all().without(entry.replicated));
}

/// Rows: along the first dimension that has several. A tensor of one element is one row.
int row_dimension(const Piece& piece) {
  const auto found = std::find_if(piece.owned.begin(), piece.owned.end(), [](const Range& range) { return range.size() > 1; });
  return found == piece.owned.end() ? -1 : static_cast<int>(found - piece.owned.begin());
}

std::int64_t numbers_in_row(const NamedPiece& piece) {
  const int dim = row_dimension(piece.piece);
  return dim < 0 ? piece.size : piece.size / piece.piece.owned[static_cast<std::size_t>(dim)].size();
}

/// The place nearest to `offset` where no row is cut. Holes and gaps may be cut anywhere.
std::int64_t nearest_cut(std::span<const ParameterList::Entry> entries, std::int64_t offset) {
  for (const ParameterList::Entry& entry : entries) {
    for (const NamedPiece& piece : entry.pieces) {
      if (offset <= piece.offset || offset >= piece.offset + piece.size) continue;
      const std::int64_t row = numbers_in_row(piece);
      return piece.offset + (offset - piece.offset + row / 2) / row * row;
    }
  }
  return offset;
}

std::vector<std::int64_t> cuts_of(std::span<const ParameterList::Entry> entries, std::int64_t begin, std::int64_t end, std::int64_t ranks) {
  std::vector<std::int64_t> cuts{begin};
  for (std::int64_t rank = 1; rank < ranks; ++rank) cuts.push_back(nearest_cut(entries, begin + part_of(end - begin, ranks, rank).first));
  cuts.push_back(end);
  return cuts;
}

/// This rank's number in the communicator of the axes, which a mesh that is only described has not.
std::size_t number_in(const Mesh& mesh, AxisSet axes) {
  int number = 0;
  for (const Axis axis : {Axis::data, Axis::domain_y, Axis::domain_x, Axis::tensor}) {
    if (axes.contains(axis)) number = number * mesh.size(axis) + mesh.coordinate(axis);
  }
  return static_cast<std::size_t>(number);
}

}  // namespace

std::vector<std::int64_t> FlatBucket::counts() const {
  std::vector<std::int64_t> counts;
  for (std::size_t rank = 0; rank + 1 < cuts.size(); ++rank) counts.push_back(cuts[rank + 1] - cuts[rank]);
  return counts;
}

FlatShares::FlatShares(const ParameterList& parameters, const Mesh& mesh, Sharding sharding, std::int64_t bucket_bytes)
    : mesh_(mesh), sharding_(sharding) {
  if (!parameters.gradients().defined()) throw Error("flat shares: the parameters were made for inference and have no gradients");
  const auto& entries = parameters.entries();
  const std::int64_t full = bucket_bytes / static_cast<std::int64_t>(size_of(parameters.gradients().dtype()));
  std::int64_t numbers = 0;
  for (std::size_t i = 0; i < entries.size() && entries[i].trainable; ++i) {
    const bool apart = i > 0 && (entries[i].replicated != entries[i - 1].replicated || entries[i].prepared != entries[i - 1].prepared);
    if (buckets_.empty() || apart || numbers >= full) {
      buckets_.push_back({.axes = entries[i].replicated, .first_entry = i, .last_entry = i, .cuts = {}});
      numbers = 0;
    }
    numbers += even_share(entries[i], mesh);
    ++buckets_.back().last_entry;
  }
  for (FlatBucket& bucket : buckets_) {
    const bool last = bucket.last_entry == entries.size() || !entries[bucket.last_entry].trainable;
    const std::int64_t end = last ? parameters.gradients().numel() : entries[bucket.last_entry].offset;
    bucket.cuts = cuts_of(std::span(entries).subspan(bucket.first_entry, bucket.last_entry - bucket.first_entry),
                          entries[bucket.first_entry].offset, end, mesh.size(bucket.axes));
  }
}

Range FlatShares::own(const FlatBucket& bucket) const {
  if (!is_shared_out(bucket)) return {bucket.begin(), bucket.end()};
  const std::size_t rank = number_in(mesh_, bucket.axes);
  return {bucket.cuts[rank], bucket.cuts[rank + 1]};
}

NamedPiece FlatShares::own_part(const NamedPiece& piece) const {
  const auto bucket = std::find_if(buckets_.begin(), buckets_.end(), [&](const FlatBucket& one) { return piece.offset < one.end(); });
  if (bucket == buckets_.end() || !is_shared_out(*bucket)) return piece;
  NamedPiece part = piece;
  const Range share = own(*bucket);
  const auto inside = [&](std::int64_t offset) { return std::clamp(offset, piece.offset, piece.offset + piece.size); };
  part.replicated = AxisSet{};
  part.offset = inside(share.first), part.size = inside(share.last) - inside(share.first);
  if (part.size == piece.size || part.piece.owned.empty()) return part;
  const std::int64_t row = numbers_in_row(piece);
  // One row, if it is another's, is empty along the first dimension.
  Range& rows = part.piece.owned[static_cast<std::size_t>(std::max(row_dimension(piece.piece), 0))];
  rows = {rows.first + (part.offset - piece.offset) / row, rows.first + (part.offset + part.size - piece.offset) / row};
  return part;
}

}  // namespace trident
