#include "checkpoint/training_state.h"

#include <algorithm>
#include <iterator>

#include "checkpoint/manifest.h"
#include "runtime/device/cuda_device.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

/// Whether this one of the ranks that hold the same box saves it. A few of them share tensors out by their names; they are evenly spaced,
/// so that they stand on different hosts.
bool saves(const StatePiece& piece, const Mesh& mesh) {
  constexpr int kMostWriters = 8;
  if (piece.values.numel() == 0) return false;
  int place = 0, ranks = 1;
  for (int index = 0; index < kNumAxes; ++index) {
    const auto axis = static_cast<Axis>(index);
    if (!piece.replicated.contains(axis)) continue;
    place = place * mesh.size(axis) + mesh.coordinate(axis);
    ranks *= mesh.size(axis);
  }
  const int writers = std::min(ranks, kMostWriters);
  const auto writer = static_cast<int>(checksum_of(piece.name.data(), piece.name.size()) % static_cast<std::uint64_t>(writers));
  return place == writer * ranks / writers;
}

}  // namespace

void add_pieces(TrainingState& state, const std::string& group, const ParameterList& parameters, const Tensor& flat) {
  for (const NamedPiece& named : parameters.pieces()) {
    if (named.offset + named.size > flat.numel()) continue;  // a frozen parameter, which has no moments
    state.pieces.push_back({group + "/" + named.name, named.piece.full_shape, named.piece.owned, named.replicated, named.in(flat)});
  }
}

void add_buffers(TrainingState& state, const std::string& group, const ParameterList& parameters) {
  for (const auto& buffer : parameters.buffers()) add_tensor(state, group + "/" + buffer.name, buffer.value);
}

void add_tensor(TrainingState& state, const std::string& name, const Tensor& values) {
  std::vector<Range> owned;
  for (const std::int64_t extent : values.shape()) owned.push_back({0, extent});
  state.pieces.push_back({name, values.shape(), owned, AxisSet::all(), values});
}

TrainingState part_to_save(const TrainingState& state, const Mesh& mesh) {
  TrainingState part{.pieces = {}, .values = state.values};
  std::ranges::copy_if(state.pieces, std::back_inserter(part.pieces), [&](const StatePiece& piece) { return saves(piece, mesh); });
  return part;
}

TrainingState host_copy(const TrainingState& state) {
  TrainingState copy = state;
  Device device;
  for (StatePiece& piece : copy.pieces) {
    const Tensor& values = piece.values;
    const Tensor copied = values.is_cuda() ? empty_pinned(values.shape(), values.dtype()) : empty(values.shape(), values.dtype());
    copy_into(copied, values);
    device = values.device();
    piece.values = copied;
  }
  if (device.is_gpu()) current_stream(device).synchronize();
  return copy;
}

}  // namespace trident
