/// The Fourier blocks of an FNO: a spectral convolution and what stands beside and behind it. Names of neuraloperator's FNOBlocks.
#pragma once

#include <optional>
#include <vector>

#include "models/fno/fno_config.h"
#include "models/layers/block_norm.h"
#include "models/layers/channel_mlp.h"
#include "models/layers/field_parts.h"
#include "models/layers/field_place.h"
#include "models/layers/skip_connection.h"
#include "models/layers/spectral_conv.h"

namespace trident {

class FnoBlocks {
 public:
  /// `batch`: the ranks of whose samples batch_norm takes statistics.
  FnoBlocks(const FnoConfig& config, const Mesh& mesh, const Mesh& batch);

  /// x: (batch, hidden channel, space...), or this rank's part of it; time: (batch,), read by ada_in only.
  Parts operator()(std::size_t index, const Parts& x, const FieldPlace& place, const Tensor& time, const Pass& pass) const;
  /// Points per dimension of a whole field that entered with `extents`. Throws ShapeError if a block leaves none.
  std::vector<std::int64_t> extents_after(std::vector<std::int64_t> extents) const;
  /// The same after block `index` alone.
  std::vector<std::int64_t> scaled(std::size_t index, std::vector<std::int64_t> extents) const;
  double pointwise_flops() const;  // of one point through all blocks
  /// Of all blocks' products with spectral weights.
  double spectral_flops(std::int64_t batch, const std::vector<std::int64_t>& kept_modes) const;

  static void visit(auto& self, auto& v) {
    v("convs", self.convs_), v("fno_skips", self.fno_skips_), v("channel_mlp", self.channel_mlps_);
    v("channel_mlp_skips", self.channel_mlp_skips_), v("norm", self.norms_);
  }

 private:
  /// A block's place and what it is given.
  struct Call {
    std::size_t index;
    const FieldPlace& place;  // of its input, and of all else where ranks share it
    const Tensor& time;
    const Pass& pass;
    std::vector<std::int64_t> extents;  // of the block's output; empty if they are those of its input
    std::optional<NonLinearity> unless_last;
  };

  Parts with_skip(const Call& call, const Parts& x, const Parts& branch, std::optional<NonLinearity> activation) const;
  Parts through_mlp(const Call& call, const Parts& x, const Parts& skipped, std::optional<NonLinearity> activation,
                    const std::optional<Mix>& before = {}) const;
  bool skip_adds_bias(const Call& call) const;
  Tensor bias_of_skip(const Call& call, const Tensor& x) const;
  Parts convolve(const Call& call, const Parts& x) const;
  Parts normalise(const Call& call, std::size_t which, const Parts& x) const;
  Parts post_activated(const Call& call, const Parts& x) const;
  Parts pre_activated(const Call& call, const Parts& x) const;
  std::vector<std::int64_t> output_extents(std::size_t index, const std::vector<std::int64_t>& extents) const;

  bool complex_, preactivation_, stabilized_, whole_;  // whole: with what follows the sum of convolution and skip
  bool active_in_last_;                                // v0_3: with an MLP the last block's sum is activated too
  NonLinearity non_linearity_;
  std::vector<std::vector<double>> scaling_;  // per block and dimension
  std::vector<SpectralConv> convs_;
  std::vector<RealOrComplex<SkipConnection>> fno_skips_;
  std::vector<RealOrComplex<ChannelMlp>> channel_mlps_;
  std::vector<RealOrComplex<SkipConnection>> channel_mlp_skips_;
  std::vector<RealOrComplex<BlockNorm>> norms_;
  std::size_t norms_per_block_ = 0;
};

}  // namespace trident
