/// Sums gradients over the ranks that hold the same parameters, in buckets, while the backward still runs.
#pragma once

#include <memory>

#include "parallel/flat_shares.h"
#include "runtime/autograd/tape.h"

namespace trident {

/// A bucket leaves, on the mesh's stream, when the gradients of all its parameters are final, and in an order that is the same on every
/// rank: the order in which buckets became complete on rank 0 in the first backward, which therefore sends everything at its end.
/// Where ranks share out the optimiser, each gets the sums of its share alone; the rest of its gradients is of no use then.
/// One rank: nothing to do.
class GradientReducer {
 public:
  GradientReducer(const ParameterList& parameters, const FlatShares& shares);

  /// Pass it to the backward of the last micro-batch; the earlier ones add to the gradients without it.
  OnFinal on_final();
  /// Sends what has not left yet (also gradients that the loss did not reach) and waits for all.
  void finish();

 private:
  struct State;
  std::shared_ptr<State> state_;  // shared with the callbacks that it has handed out
};

}  // namespace trident
