/// The spectral convolution: the learned part of Fourier neural operators.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "models/layers/spectral_weight.h"
#include "parallel/domain.h"

namespace trident {

/// neuraloperator's arguments of SpectralConv, with their meaning there.
struct SpectralConvConfig {
  std::int64_t in_channels = 1, out_channels = 1;
  std::vector<std::int64_t> n_modes = {};  // per dimension, negative frequencies included
  std::vector<std::int64_t> max_n_modes =
      {};  // modes that the weight holds, the last dimension of a real field halved already; empty: n_modes
  bool complex_data = false;
  bool separable = false;  // each channel by itself; as many out as in
  Factorization factorization = Factorization::dense;
  RankChoice rank = 0.5;
  bool fixed_rank_modes = false;
  Contraction implementation = Contraction::factorized;
  bool bias = true;
  std::optional<double> init_std = std::nullopt;  // sqrt(2 / (in + out)) by default
  bool modes_before_v2 = false;
};

/// Multiplies the lowest Fourier modes of a field by a learned matrix per mode.
/// Modes kept in a dimension with k of them: -(k/2) <= frequency < (k + 1)/2; in the last one of a real field 0 <= frequency <= k/2; in a
/// complex field's only one 0 <= frequency < k. With `modes_before_v2`, as neuraloperator kept them before 2.0, an odd number of modes on
/// an even grid begins one lower: -(k + 1)/2 <= frequency < (k - 1)/2. Modes that a grid does not have are dropped, and so are the weight's
/// outermost ones then. FFT: divided by the number of points forward, unscaled backward, so that modes do not depend on the resolution. The
/// imaginary parts that a real field cannot have are dropped, as the reference's enforce_hermitian_symmetry does on any device. Source: Li
/// et al. 2021, "Fourier Neural Operator"; neuraloperator's SpectralConv. Different from it on purpose: complex fields of several
/// dimensions keep the modes named above (the reference loses their place), and a field of another resolution gets its negative frequencies
/// where they belong.
class SpectralConv {
 public:
  /// Throws ConfigError for arguments that do not fit together.
  SpectralConv(const SpectralConvConfig& config, const Mesh& mesh);

  /// x: (batch, in, space...), real or complex as configured -> (batch, out, space...). `output_extents`: points per dimension of the
  /// result; empty: those of x. Where the domain axes share fields out (their last two dimensions, as Domain::rectangle does), x and the
  /// result are this rank's, and `extents` says how many points the whole x has; else it may be empty.
  Tensor operator()(const Tensor& x, const std::vector<std::int64_t>& output_extents = {},
                    const std::vector<std::int64_t>& extents = {}) const;
  /// The same for those who add the bias (out, 1, ...; undefined if there is none) along with something else.
  Tensor without_bias(const Tensor& x, const std::vector<std::int64_t>& output_extents, const std::vector<std::int64_t>& extents) const {
    return with_bias(x, output_extents, extents, {});
  }
  Tensor bias_in(DType dtype) const { return bias_ ? bias_->in(dtype) : Tensor{}; }

  /// Of the products with the weight, for a batch of fields that keep so many modes of each dimension.
  double product_flops(std::int64_t batch, const std::vector<std::int64_t>& kept) const { return weight_.flops(batch, kept); }

  static void visit(auto& self, auto& v) {
    if (self.bias_) v("bias", *self.bias_);
    v("weight", self.weight_);
  }

 private:
  Tensor with_bias(const Tensor& x, const std::vector<std::int64_t>& output_extents, const std::vector<std::int64_t>& extents,
                   const Tensor& bias) const;
  Tensor summed_over_channels(const Tensor& x, const std::vector<Range>& kept) const;

  SpectralConvConfig config_;
  Domain domain_;                  // keeps plans from call to call
  std::optional<Parameter> bias_;  // (out, 1, ...)
  SpectralWeight weight_;
};

}  // namespace trident
