#include "checkpoint/gathered_tensor.h"

#include "checkpoint/box.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"

namespace trident {
namespace {

/// First and last of every dimension.
Tensor bounds_of(const Box& box) {
  std::vector<std::int64_t> bounds;
  for (const Range& range : box) bounds.insert(bounds.end(), {range.first, range.last});
  return from_values<std::int64_t>({static_cast<std::int64_t>(bounds.size())}, bounds);
}

Box box_of(const Tensor& bounds) {
  Box box;
  const std::vector<std::int64_t> numbers = to_host<std::int64_t>(bounds);
  for (std::size_t dim = 0; 2 * dim < numbers.size(); ++dim) box.push_back({numbers[2 * dim], numbers[2 * dim + 1]});
  return box;
}

}  // namespace

Tensor gathered_tensor(const NamedPiece& piece, const Mesh& mesh) {
  // Of the ranks that hold the same part, the first gives it: those form the communicator of rank 0.
  for (int axis = 0; axis < kNumAxes; ++axis) {
    if (piece.replicated.contains(static_cast<Axis>(axis)) && mesh.coordinate(static_cast<Axis>(axis)) != 0) return {};
  }
  Communicator& holders = mesh.comm(AxisSet::all().without(piece.replicated));
  const Tensor mine = piece.value.detached();
  if (holders.size() == 1) return view::reshape(mine, piece.piece.full_shape);
  if (holders.rank() > 0) {
    holders.send_receive(bounds_of(piece.piece.owned), 0, {}, -1);
    holders.send_receive(mine, 0, {}, -1);
    return {};
  }
  const Tensor whole = empty(piece.piece.full_shape, mine.dtype());
  copy_overlap(whole, whole_box(piece.piece.full_shape), mine, piece.piece.owned);
  for (int rank = 1; rank < holders.size(); ++rank) {
    const Tensor bounds = bounds_of(piece.piece.owned);
    holders.send_receive({}, -1, bounds, rank);
    const Box box = box_of(bounds);
    const Tensor part = empty({num_elements(box)}, mine.dtype());
    holders.send_receive({}, -1, part, rank);
    copy_overlap(whole, whole_box(piece.piece.full_shape), part, box);
  }
  return whole;
}

}  // namespace trident
