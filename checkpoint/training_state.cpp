#include "checkpoint/training_state.h"

namespace trident {

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

}  // namespace trident
