/// The optimiser: updates ranges of the flat parameter buffer. Which numbers an element gets is a table over the pieces, so a physical
/// tensor may hold pieces of several groups, and holes are never touched.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "parallel/flat_shares.h"
#include "runtime/kernels/adamw.h"
#include "runtime/tensor/sent_numbers.h"

namespace trident {

/// The 2-norm of the gradients of all trained pieces of the model, f64, shape (1,), on their device: the same bits on every rank. Parts
/// that several ranks hold alike count once. On one mesh its bits are the same whether ranks have shares or not.
class GlobalNorm {
 public:
  GlobalNorm(const ParameterList& parameters, const FlatShares& shares);
  /// Collective; call it when the sums over ranks are complete.
  Tensor operator()() const;

 private:
  /// What some axes replicate: which blocks of it this rank adds up, out of `count` that are the same on every rank.
  struct Squares {
    AxisSet replicated;
    Tensor blocks;  // FlatBlocks as words
    std::int64_t count = 0;
    bool shared_out = false;
  };
  Tensor total_of(const Squares& squares) const;

  Mesh mesh_;
  Tensor gradients_;
  std::vector<Squares> sets_;
};
inline Tensor global_norm(const ParameterList& parameters, const FlatShares& shares) { return GlobalNorm(parameters, shares)(); }
inline Tensor global_norm(const ParameterList& parameters, const Mesh& mesh) {
  return global_norm(parameters, FlatShares(parameters, mesh));
}

/// Whose rule: torch.optim.AdamW (decay first, both moments corrected, the parts of a complex number are two numbers) or
/// neuralop.training.AdamW (decay last, eps not corrected, one second moment for a complex number).
enum class AdamWRule { torch, neuralop };

struct AdamWOptions {
  AdamWRule rule = AdamWRule::torch;
  double beta1 = 0.9, beta2 = 0.999;
  double eps = 1e-8;
  double max_grad_norm = 0.0;  // 0: no clipping
  bool correct_bias = true;    // false: the moments, which start from 0, are taken as they are
};

/// AdamW by either rule with torch.nn.utils.clip_grad_norm_ before it.
class AdamW {
 public:
  /// `weight_decays`: one per group; `group_of`: the group of a piece, by its full name. Throws ConfigError for a group that does not
  /// exist. Without shares every rank updates all that it holds.
  AdamW(const ParameterList& parameters, const AdamWOptions& options, std::vector<double> weight_decays,
        const std::function<int(const std::string& name)>& group_of, const std::optional<FlatShares>& shares = {});

  /// Update number `step` (1 for the first) with a rate for each group. `norm`: of global_norm(). If it is not finite nothing is written;
  /// whoever reads the norm raises the error. Collective where ranks have shares: each updates its own and gets the others'.
  void update(std::int64_t step, std::span<const double> learning_rates, const Tensor& norm) {
    prepare(step, learning_rates);
    apply(norm);
  }
  /// The same in two parts: the numbers of the update go to the device; then it is launched, also again and again by a graph.
  void prepare(std::int64_t step, std::span<const double> learning_rates);
  void apply(const Tensor& norm);

  /// The moments of every trained piece as tensors to save and to restore in place: "NAME.exp_avg", "NAME.exp_avg_sq", shaped and owned as
  /// the piece, or as the part of it in this rank's share. The neuralop rule's second moments of complex numbers are real.
  std::vector<NamedPiece> state() const;

 private:
  void gather_values() const;

  AdamWOptions options_;
  FlatShares shares_;
  std::vector<double> weight_decays_;  // by group
  Tensor blocks_;                      // FlatBlocks as words, and below an AdamWStep as numbers: on the parameters' device
  SentNumbers numbers_;
  // Own parts of the trained pieces, in visiting order, with their places in the moments' buffers.
  std::vector<NamedPiece> first_moments_, second_moments_;
  Tensor values_, gradients_;  // flat, trained elements
  Tensor rounded_;             // the values in bf16, where the model computes with them
  Tensor first_, second_;      // moments of this rank's shares, one after the other
};

}  // namespace trident
