/// Sums gradients over the ranks that hold the same parameters, in buckets, while the backward still runs.
#pragma once

#include <cstdint>
#include <memory>

#include "parallel/mesh.h"
#include "parallel/parameter.h"
#include "runtime/autograd/tape.h"

namespace trident {

/// Buckets are consecutive parameters of the flat gradient buffer that the same axes sum. A bucket leaves, on the mesh's stream, when the
/// gradients of all its parameters are final, and in an order that is the same on every rank: the order in which buckets became complete
/// on rank 0 in the first backward, which therefore sends everything at its end. One rank: nothing to do.
class GradientReducer {
 public:
  /// Small buckets by default: MPI moves 1 MB at a time fastest, and exchanges of the model queue behind them.
  GradientReducer(const ParameterList& parameters, const Mesh& mesh, std::int64_t bucket_bytes = std::int64_t{1} << 20);

  /// Pass it to the backward of the last micro-batch; the earlier ones add to the gradients without it.
  OnFinal on_final();
  /// Sends what has not left yet (also gradients that the loss did not reach) and waits for all. The gradients are then the sums.
  void finish();

 private:
  struct State;
  std::shared_ptr<State> state_;  // shared with the callbacks that it has handed out
};

}  // namespace trident
