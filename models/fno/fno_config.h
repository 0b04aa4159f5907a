/// The configuration of Fourier neural operators: keys and defaults of neuraloperator's FNO; TFNO differs in two defaults.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "models/layers/block_norm.h"
#include "models/layers/domain_padding.h"
#include "models/layers/nonlinearity.h"
#include "models/layers/spectral_weight.h"
#include "runtime/config.h"

namespace trident {

/// How a block is put together: as neuraloperator does today, or as published weights need it. v1: as its releases 1.x, whose odd numbers
/// of modes lie elsewhere on even grids (SpectralConvConfig::modes_before_v2). v0_3: as 0.3.0, where that holds too: without an MLP a block
/// ends with one activation and has one normalisation, and with one its first activation is there in the last block too.
enum class BlockVariant { current, v1, v0_3 };
inline auto config_names(BlockVariant) {
  return std::array{std::pair{BlockVariant::current, "current"}, std::pair{BlockVariant::v1, "v1"}, std::pair{BlockVariant::v0_3, "v0_3"}};
}

struct FnoConfig {
  std::vector<int> n_modes;  // per dimension, negative frequencies included; their number is the number of dimensions
  int in_channels = 0, out_channels = 0, hidden_channels = 0;
  int n_layers = 4;
  double lifting_channel_ratio = 2.0, projection_channel_ratio = 2.0;  // hidden width over hidden_channels; 0: one layer
  std::optional<int> lifting_channels{}, projection_channels{};        // instead of the ratios; not a key of the reference's today
  std::optional<std::string> positional_embedding = "grid";
  NonLinearity non_linearity = NonLinearity::gelu;
  std::optional<BlockNormKind> norm{};
  int norm_groups = 1;
  bool complex_data = false;
  bool use_channel_mlp = true;
  double channel_mlp_dropout = 0.0, channel_mlp_expansion = 0.5;
  std::optional<std::string> channel_mlp_skip = "soft-gating", fno_skip = "linear";  // linear | identity | soft-gating | null
  int conv_bias_kernel = 1;                                                          // points per side of the linear fno_skip
  ConfigValue resolution_scaling_factor{};  // null; a number; one per layer; or one list of one per dimension for each layer
  ConfigValue domain_padding{};             // null; a fraction; or one per dimension
  PaddingMode domain_padding_mode = PaddingMode::symmetric;  // not a key of the reference's today
  std::string fno_block_precision = "full";
  std::optional<std::string> stabilizer{};        // tanh
  std::optional<std::vector<int>> max_n_modes{};  // modes that the weights hold, the last dimension of a real field halved already
  std::optional<std::string> factorization{};     // dense | tucker | cp | tt, in any case
  ConfigValue rank = 1.0;                         // a fraction, a whole number, a list, or "same"
  bool fixed_rank_modes = false;
  std::string implementation = "factorized";  // factorized | reconstructed
  ConfigValue decomposition_kwargs{};         // null or an empty map
  bool separable = false;
  bool preactivation = false;
  std::string conv_module = "SpectralConv";
  bool enforce_hermitian_symmetry = true;
  BlockVariant block_variant = BlockVariant::current;  // not a key of the reference's

  static void visit(auto& self, auto& v) {
    v("n_modes", self.n_modes), v("in_channels", self.in_channels), v("out_channels", self.out_channels);
    v("hidden_channels", self.hidden_channels), v("n_layers", self.n_layers), v("lifting_channel_ratio", self.lifting_channel_ratio);
    v("projection_channel_ratio", self.projection_channel_ratio), v("lifting_channels", self.lifting_channels);
    v("projection_channels", self.projection_channels), v("positional_embedding", self.positional_embedding);
    v("non_linearity", self.non_linearity), v("norm", self.norm), v("norm_groups", self.norm_groups), v("complex_data", self.complex_data);
    v("use_channel_mlp", self.use_channel_mlp), v("channel_mlp_dropout", self.channel_mlp_dropout);
    v("channel_mlp_expansion", self.channel_mlp_expansion), v("channel_mlp_skip", self.channel_mlp_skip), v("fno_skip", self.fno_skip);
    v("conv_bias_kernel", self.conv_bias_kernel), v("resolution_scaling_factor", self.resolution_scaling_factor);
    v("domain_padding", self.domain_padding), v("domain_padding_mode", self.domain_padding_mode);
    v("fno_block_precision", self.fno_block_precision), v("stabilizer", self.stabilizer), v("max_n_modes", self.max_n_modes);
    v("factorization", self.factorization), v("rank", self.rank), v("fixed_rank_modes", self.fixed_rank_modes);
    v("implementation", self.implementation), v("decomposition_kwargs", self.decomposition_kwargs), v("separable", self.separable);
    v("preactivation", self.preactivation), v("conv_module", self.conv_module);
    v("enforce_hermitian_symmetry", self.enforce_hermitian_symmetry), v("block_variant", self.block_variant);
  }

  int num_dims() const { return static_cast<int>(n_modes.size()); }
  std::int64_t lifting_width() const;
  std::int64_t projection_width() const;
  /// Of the channel MLP of a block.
  std::int64_t mlp_width() const;
  /// Per layer and dimension; ones without a factor.
  std::vector<std::vector<double>> scaling() const;
  /// Fractions per dimension; empty without padding.
  std::vector<double> padding() const;
  Factorization spectral_factorization() const;
  RankChoice spectral_rank() const;
};

/// Keys of FNO whose defaults differ in TFNO, where they are absent.
ConfigValue with_tfno_defaults(ConfigValue document);

/// Reads the keys of a model of type fno (`type` taken out). Throws ConfigError, naming key, value and what is allowed, for what cannot be
/// built or cannot be meant.
FnoConfig read_fno_config(const ConfigValue& document);

}  // namespace trident
