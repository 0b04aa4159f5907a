/// What a training checkpoint holds: named tensors and a document. It knows no trainer.
#pragma once

#include <string>
#include <vector>

#include "parallel/parameter.h"
#include "runtime/config.h"

namespace trident {

/// A named tensor, or the box of it that this rank holds.
struct StatePiece {
  std::string name;  // "weights/embeddings.norm.bias"
  Shape full_shape;
  std::vector<Range> owned;             // per dimension of full_shape
  AxisSet replicated = AxisSet::all();  // axes along which ranks hold the same box: one of them saves it
  Tensor values;                        // contiguous, as many elements as the box
};

struct TrainingState {
  std::vector<StatePiece> pieces;
  ConfigValue values = ConfigValue::map();  // step, position in the data, ...; the same on every rank
};

/// Appends the pieces of a flat buffer that is laid out like the parameters' own (their values; the moments of an optimiser, of the trained
/// ones only) as `GROUP/NAME`. The pieces view the buffer.
void add_pieces(TrainingState& state, const std::string& group, const ParameterList& parameters, const Tensor& flat);
/// Appends the model's buffers (running statistics) as `GROUP/NAME`.
void add_buffers(TrainingState& state, const std::string& group, const ParameterList& parameters);
/// Appends a tensor that is the same on every rank.
void add_tensor(TrainingState& state, const std::string& name, const Tensor& values);

/// Of a state that the ranks of a mesh hold together, the pieces that this rank saves: each tensor's box is saved by one of the ranks that
/// hold it, up to eight of which share them out.
TrainingState part_to_save(const TrainingState& state, const Mesh& mesh);
/// The same numbers in memory of the host, to be read while training changes the state's own.
TrainingState host_copy(const TrainingState& state);

}  // namespace trident
