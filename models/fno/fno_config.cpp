#include "models/fno/fno_config.h"

#include <algorithm>
#include <cctype>
#include <cmath>

#include "runtime/error.h"

namespace trident {
namespace {

using Kind = ConfigValue::Kind;

constexpr int kMostDims = 3;
constexpr int kMostLayers = 1000;
constexpr int kMostModes = 1 << 20;     // as many as fields have points per side
constexpr int kMostChannels = 1 << 24;  // products of two of them are far from overflow

bool is_number(const ConfigValue& value) { return value.kind() == Kind::number || value.kind() == Kind::integer; }

bool is_list_of_numbers(const ConfigValue& value) { return value.kind() == Kind::list && std::ranges::all_of(value.elements(), is_number); }

std::string lower(std::string text) {
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

/// As Python's int() and round() of a positive number.
std::int64_t truncated(double value) { return static_cast<std::int64_t>(value); }
std::int64_t rounded(double value) { return static_cast<std::int64_t>(std::nearbyint(value)); }

/// Checks one configuration; errors carry the line of the key in the document they came from.
class Checker {
 public:
  Checker(const FnoConfig& config, const ConfigValue& document) : c_(config), document_(ConfigValue::map({{"model", document}})) {}

  void check() const {
    check_sizes();
    check_layers();
    check_lists();
    check_scaling();
    check_padding();
    check_weights();
    check_constants();
  }

 private:
  template <class... Parts>
  [[noreturn]] void fail(const std::string& key, const Parts&... what) const {
    throw config_error(document_, "model." + key, concat(what...));
  }
  void at_least(const std::string& key, double value, double least) const {
    if (!(value >= least)) fail(key, value, " is impossible; it must be at least ", least);
  }
  /// From 1 on.
  void within(const std::string& key, int value, int most) const {
    at_least(key, value, 1);
    if (value > most) fail(key, value, " is more than ", most);
  }
  /// What numbers of channels and points are multiplied by.
  void is_factor(const std::string& key, double value) const {
    constexpr double kMost = 1e6;  // beyond it the product may be none of 64 bits
    at_least(key, value, 0.0);
    if (value > kMost) fail(key, value, " is impossible; it must be at most ", kMost);
  }
  void one_of(const std::string& key, const std::optional<std::string>& value, const std::vector<std::string>& allowed) const {
    if (!value || std::ranges::find(allowed, lower(*value)) != allowed.end()) return;
    std::string names;
    for (const std::string& name : allowed) names += (names.empty() ? "" : ", ") + name;
    fail(key, "\"", *value, "\" is not one of them; ", suggestion(*value, allowed), "allowed: ", names);
  }

  void check_sizes() const {
    const std::size_t dims = c_.n_modes.size();
    if (dims == 0) fail("n_modes", "is missing; give the number of Fourier modes in each dimension, such as [16, 16]");
    if (dims > kMostDims) fail("n_modes", "has ", dims, " entries; fields have 1 to ", kMostDims, " dimensions");
    for (std::size_t dim = 0; dim < dims; ++dim) within(concat("n_modes[", dim, "]"), c_.n_modes[dim], kMostModes);
    for (const auto& [key, value] : {std::pair{"in_channels", c_.in_channels}, std::pair{"out_channels", c_.out_channels},
                                     std::pair{"hidden_channels", c_.hidden_channels}}) {
      if (document_.find("model")->find(key) == nullptr) fail(key, "is missing; give the number of channels");
      within(key, value, kMostChannels);
    }
    within("n_layers", c_.n_layers, kMostLayers);
  }

  void check_layers() const {
    for (const auto& [key, ratio] : {std::pair{"lifting_channel_ratio", c_.lifting_channel_ratio},
                                     std::pair{"projection_channel_ratio", c_.projection_channel_ratio}}) {
      is_factor(key, ratio);
      if (ratio > 0.0 && truncated(ratio * c_.hidden_channels) < 1) {
        fail(key, ratio, " times hidden_channels ", c_.hidden_channels, " is less than one channel; choose 0 for a single layer, or more");
      }
    }
    if (c_.lifting_channels) at_least("lifting_channels", *c_.lifting_channels, 0);
    if (c_.projection_channels) at_least("projection_channels", *c_.projection_channels, 0);
    if (!(c_.channel_mlp_dropout >= 0.0 && c_.channel_mlp_dropout < 1.0)) {
      fail("channel_mlp_dropout", c_.channel_mlp_dropout, " is not a probability below 1; allowed: 0 <= channel_mlp_dropout < 1");
    }
    is_factor("channel_mlp_expansion", c_.channel_mlp_expansion);
    if (c_.use_channel_mlp && c_.mlp_width() < 1) {
      fail("channel_mlp_expansion", c_.channel_mlp_expansion, " times hidden_channels ", c_.hidden_channels,
           " rounds to no channel; choose a larger one, or set use_channel_mlp to false");
    }
    one_of("fno_skip", c_.fno_skip, {"linear", "identity", "soft-gating"});
    one_of("channel_mlp_skip", c_.channel_mlp_skip, {"linear", "identity", "soft-gating"});
    within("conv_bias_kernel", c_.conv_bias_kernel, kMostModes);
    if (c_.conv_bias_kernel > 1 && (!c_.fno_skip || lower(*c_.fno_skip) != "linear")) {
      fail("conv_bias_kernel", c_.conv_bias_kernel, " is a convolution, which only fno_skip: linear has; set it to 1");
    }
    if (c_.norm == BlockNormKind::group_norm && (c_.norm_groups < 1 || c_.hidden_channels % c_.norm_groups != 0)) {
      fail("norm_groups", c_.norm_groups, " groups do not divide hidden_channels ", c_.hidden_channels, "; choose a divisor");
    }
  }

  void check_lists() const {
    if (!c_.max_n_modes) return;
    if (c_.max_n_modes->size() != c_.n_modes.size()) {
      fail("max_n_modes", "has ", c_.max_n_modes->size(), " entries, n_modes has ", c_.n_modes.size(), "; give one per dimension");
    }
    for (std::size_t dim = 0; dim < c_.n_modes.size(); ++dim) {
      const bool halved = !c_.complex_data && dim + 1 == c_.n_modes.size();
      const int needed = halved ? c_.n_modes[dim] / 2 + 1 : c_.n_modes[dim];
      if ((*c_.max_n_modes)[dim] < needed) {
        fail(concat("max_n_modes[", dim, "]"), (*c_.max_n_modes)[dim], " is less than the ", needed, " modes that n_modes ",
             c_.n_modes[dim], " uses", halved ? " (the last dimension of a real field counts frequencies 0 to n/2)" : "",
             "; choose at least ", needed);
      }
    }
  }

  void check_scaling() const {
    const ConfigValue& factor = c_.resolution_scaling_factor;
    const auto layers = static_cast<std::size_t>(c_.n_layers), dims = c_.n_modes.size();
    const std::string key = "resolution_scaling_factor";
    const auto positive = [&](const std::string& path, const ConfigValue& value) {
      if (!is_number(value)) fail(path, "expected a number, found ", value.described());
      if (!(value.as_number() > 0.0)) fail(path, value.as_number(), " is not a factor above 0");
      is_factor(path, value.as_number());
    };
    if (factor.is_null()) return;
    if (factor.kind() != Kind::list) return positive(key, factor);
    if (factor.elements().size() != layers) {
      fail(key, "has ", factor.elements().size(), " entries, but there are ", layers, " layers (n_layers); give one per layer");
    }
    for (std::size_t layer = 0; layer < layers; ++layer) {
      const ConfigValue& own = factor.elements()[layer];
      const std::string path = concat(key, "[", layer, "]");
      if (own.kind() != Kind::list) {
        positive(path, own);
        continue;
      }
      if (own.elements().size() != dims)
        fail(path, "has ", own.elements().size(), " entries, n_modes has ", dims, "; give one per dimension");
      for (std::size_t dim = 0; dim < dims; ++dim) positive(concat(path, "[", dim, "]"), own.elements()[dim]);
    }
  }

  void check_padding() const {
    const ConfigValue& padding = c_.domain_padding;
    if (padding.is_null()) return;
    if (!is_number(padding) && !is_list_of_numbers(padding)) {
      fail("domain_padding", "expected a fraction of the field such as 0.125, or one per dimension, found ", padding.described());
    }
    if (padding.kind() == Kind::list && padding.elements().size() != c_.n_modes.size()) {
      fail("domain_padding", "has ", padding.elements().size(), " entries, n_modes has ", c_.n_modes.size(), "; give one per dimension");
    }
    for (const double fraction : c_.padding()) {
      if (!(fraction >= 0.0 && fraction <= 10.0)) fail("domain_padding", fraction, " is not a fraction of the field; allowed: 0 to 10");
    }
  }

  void check_weights() const {
    one_of("factorization", c_.factorization, {"dense", "tucker", "cp", "tt", "none"});
    one_of("implementation", c_.implementation, {"factorized", "reconstructed"});
    const ConfigValue& rank = c_.rank;
    const bool same = rank.kind() == Kind::string && rank.as_string() == "same";
    const bool whole = rank.kind() == Kind::list && std::ranges::all_of(rank.elements(), [](const ConfigValue& value) {
                         return value.kind() == Kind::integer && value.as_integer() > 0;
                       });
    if (!same && !whole && !is_number(rank)) {
      fail("rank", "expected a share of the dense weight such as 0.1, a whole number, a list of whole numbers, or \"same\", found ",
           rank.described());
    }
    if (is_number(rank) && !(rank.as_number() > 0.0 && std::isfinite(rank.as_number()))) fail("rank", rank.as_number(), " is not above 0");
  }

  void check_constants() const {
    one_of("positional_embedding", c_.positional_embedding, {"grid"});
    one_of("stabilizer", c_.stabilizer, {"tanh"});
    one_of("conv_module", lower(c_.conv_module), {"spectralconv"});
    if (c_.fno_block_precision != "full") {
      fail("fno_block_precision", "\"", c_.fno_block_precision, "\" is not computed here; set it to full");
    }
    const ConfigValue& extra = c_.decomposition_kwargs;
    if (!extra.is_null() && !(extra.kind() == Kind::map && extra.entries().empty())) {
      fail("decomposition_kwargs", "no option of the factorisation is known; leave it out");
    }
  }

  const FnoConfig& c_;
  ConfigValue document_;
};

}  // namespace

std::int64_t FnoConfig::lifting_width() const {
  return lifting_channels ? *lifting_channels : truncated(lifting_channel_ratio * hidden_channels);
}
std::int64_t FnoConfig::projection_width() const {
  return projection_channels ? *projection_channels : truncated(projection_channel_ratio * hidden_channels);
}
std::int64_t FnoConfig::mlp_width() const { return rounded(hidden_channels * channel_mlp_expansion); }

std::vector<std::vector<double>> FnoConfig::scaling() const {
  std::vector<std::vector<double>> result(static_cast<std::size_t>(n_layers), std::vector<double>(n_modes.size(), 1.0));
  const ConfigValue& factor = resolution_scaling_factor;
  if (factor.is_null()) return result;
  for (std::size_t layer = 0; layer < result.size(); ++layer) {
    const ConfigValue& own = factor.kind() == Kind::list ? factor.elements()[layer] : factor;
    for (std::size_t dim = 0; dim < n_modes.size(); ++dim) {
      result[layer][dim] = (own.kind() == Kind::list ? own.elements()[dim] : own).as_number();
    }
  }
  return result;
}

std::vector<double> FnoConfig::padding() const {
  if (domain_padding.is_null()) return {};
  if (domain_padding.kind() != Kind::list) return std::vector<double>(n_modes.size(), domain_padding.as_number());
  std::vector<double> result;
  for (const ConfigValue& fraction : domain_padding.elements()) result.push_back(fraction.as_number());
  return result;
}

Factorization FnoConfig::spectral_factorization() const {
  const std::string name = factorization ? lower(*factorization) : "dense";
  if (name == "tucker") return Factorization::tucker;
  if (name == "cp") return Factorization::cp;
  return name == "tt" ? Factorization::tt : Factorization::dense;
}

RankChoice FnoConfig::spectral_rank() const {
  if (rank.kind() == Kind::string) return 1.0;
  if (rank.kind() == Kind::integer) return rank.as_integer();
  if (rank.kind() == Kind::number) return rank.as_number();
  std::vector<std::int64_t> ranks;
  for (const ConfigValue& own : rank.elements()) ranks.push_back(own.as_integer());
  return ranks;
}

ConfigValue with_tfno_defaults(ConfigValue document) {
  if (document.find("factorization") == nullptr) document.set("factorization", "Tucker");
  if (document.find("rank") == nullptr) document.set("rank", 0.1);
  return document;
}

FnoConfig read_fno_config(const ConfigValue& document) {
  FnoConfig config = read_config<FnoConfig>(document, "model");
  Checker(config, document).check();
  return config;
}

}  // namespace trident
