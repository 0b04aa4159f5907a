/// The loss of a training step, which does not depend on how the batch is divided over ranks and micro-batches. Ratios are of sums over the
/// *global* batch; without groups: the mean error over all channels. Norms are taken of each sample and channel of whole fields, and
/// added up over the global batch (or averaged: NormLoss::reduction).
#pragma once

#include <array>
#include <span>
#include <utility>

#include "models/model.h"

namespace trident {

/// global: relative to the labels of the global batch. per_rank: to those of each rank's micro-batch, then the mean over ranks and
/// micro-batches, as the reference does under data parallelism; its numbers depend on the mesh.
enum class LossScope { global, per_rank };
inline auto config_names(LossScope) {
  return std::array{std::pair{LossScope::global, "global"}, std::pair{LossScope::per_rank, "per_rank"}};
}

/// What the errors are divided by. Made from labels alone, before the forward.
struct LossTotals {
  Tensor sums;  // f64 (groups + 1,): sums of |label|^p per group, and the number of points of a channel. Undefined: per_rank
  std::int64_t micro_batches = 0;
  double terms = 1.0;  // of norms: how many are added up
};

class Loss {
 public:
  /// Throws ConfigError if a group reaches past the channels.
  Loss(LossDescription description, int num_out_channels, LossScope scope, const Mesh& mesh);

  /// The labels of each micro-batch of this rank; some may be empty. Collective over data and domain.
  LossTotals totals(std::span<const Fields> micro_batches) const;
  /// This rank's share: the sum over ranks and micro-batches is the loss. On the tape of `output`. Collective over data and domain where
  /// ranks share fields.
  Tensor share(const Tensor& output, const Fields& fields, const LossTotals& totals) const;
  /// Of whole fields: (batch, channel, y, x).
  LossTotals totals(std::span<const Tensor> labels) const;
  Tensor share(const Tensor& output, const Tensor& label, const LossTotals& totals) const;

 private:
  Tensor ratio_share(const Tensor& output, const Tensor& label, const LossTotals& totals) const;
  Tensor norm_share(const NormLoss& norm, const Tensor& output, const Fields& fields, const LossTotals& totals) const;
  bool stitches(const Fields& fields) const { return fields.patches && description_.patches->of_whole_fields; }
  std::int64_t num_terms(const Fields& fields) const;
  Tensor local_sums(const Tensor& label) const;
  Tensor weights(const Tensor& sums) const;

  LossDescription description_;
  std::vector<ChannelGroup> groups_;  // one of all channels if the loss is absolute
  LossScope scope_;
  Mesh mesh_;
};

}  // namespace trident
