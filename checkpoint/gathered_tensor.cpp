#include "checkpoint/gathered_tensor.h"

#include "checkpoint/box.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"

namespace trident {
namespace {

/// First and last of every dimension of each rank's box, on every rank.
std::vector<Box> all_boxes(Communicator& comm, const Box& own) {
  const auto ranks = static_cast<std::size_t>(comm.size()), numbers = 2 * own.size();
  std::vector<std::int64_t> bounds;
  for (const Range& range : own) bounds.insert(bounds.end(), {range.first, range.last});
  const Tensor all = empty({static_cast<std::int64_t>(ranks * numbers)}, DType::i64);
  comm.all_gather(from_values<std::int64_t>({static_cast<std::int64_t>(numbers)}, bounds), all,
                  std::vector<std::int64_t>(ranks, static_cast<std::int64_t>(numbers)));
  const std::vector<std::int64_t> found = to_host<std::int64_t>(all);
  std::vector<Box> boxes(ranks);
  for (std::size_t at = 0; at < found.size(); at += 2) boxes[at / numbers].push_back({found[at], found[at + 1]});
  return boxes;
}

/// What rank `from` holds, on rank 0. Every rank calls.
Tensor sent_to_first(Communicator& comm, int from, std::int64_t size, const Tensor& mine) {
  const bool sends = comm.rank() == from, receives = comm.rank() == 0;
  std::vector<std::int64_t> send_counts(static_cast<std::size_t>(comm.size())), receive_counts = send_counts;
  if (sends) send_counts[0] = size;
  if (receives) receive_counts[static_cast<std::size_t>(from)] = size;
  const Tensor target = empty({receives ? size : 0}, mine.dtype());
  comm.all_to_all(sends ? mine : empty({0}, mine.dtype()), send_counts, target, receive_counts);
  return target;
}

}  // namespace

Tensor gathered_tensor(const NamedPiece& piece, const Mesh& mesh) {
  // Of the ranks that hold the same part, the first gives it: those form the communicator of rank 0.
  for (int axis = 0; axis < kNumAxes; ++axis) {
    if (piece.replicated.contains(static_cast<Axis>(axis)) && mesh.coordinate(static_cast<Axis>(axis)) != 0) return {};
  }
  Communicator& holders = mesh.comm(AxisSet::all().without(piece.replicated));
  const Tensor mine = to_device(piece.value.detached(), Device{});
  if (holders.size() == 1) return view::reshape(mine, piece.piece.full_shape);
  const Box all = whole_box(piece.piece.full_shape);
  const std::vector<Box> boxes = all_boxes(holders, piece.piece.owned);
  const Tensor whole = holders.rank() == 0 ? empty(piece.piece.full_shape, mine.dtype()) : Tensor{};
  if (whole.defined()) copy_overlap(whole, all, mine, piece.piece.owned);
  for (int rank = 1; rank < holders.size(); ++rank) {
    const Box& box = boxes[static_cast<std::size_t>(rank)];
    const Tensor part = sent_to_first(holders, rank, num_elements(box), mine);
    if (whole.defined()) copy_overlap(whole, all, part, box);
  }
  return whole;
}

}  // namespace trident
