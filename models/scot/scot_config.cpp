#include "models/scot/scot_config.h"

#include <algorithm>
#include <array>
#include <functional>
#include <map>

#include "models/layers/nonlinearity.h"
#include "runtime/error.h"

namespace trident {
namespace {

using Kind = ConfigValue::Kind;

constexpr int kMostPoints = 1 << 20;  // per side: no field has more

/// By transformers' names, all but `laplace`.
const std::map<std::string, NonLinearity> kActivations{{"gelu", NonLinearity::gelu},
                                                       {"gelu_10", NonLinearity::gelu_to_10},
                                                       {"gelu_accurate", NonLinearity::gelu_of_tanh},
                                                       {"gelu_fast", NonLinearity::gelu_of_tanh},
                                                       {"gelu_new", NonLinearity::gelu_of_tanh},
                                                       {"gelu_python", NonLinearity::gelu},
                                                       {"gelu_pytorch_tanh", NonLinearity::gelu_of_tanh},
                                                       {"linear", NonLinearity::linear},
                                                       {"mish", NonLinearity::mish},
                                                       {"quick_gelu", NonLinearity::quick_gelu},
                                                       {"relu", NonLinearity::relu},
                                                       {"relu2", NonLinearity::squared_relu},
                                                       {"relu6", NonLinearity::relu6},
                                                       {"sigmoid", NonLinearity::sigmoid},
                                                       {"silu", NonLinearity::silu},
                                                       {"swish", NonLinearity::silu},
                                                       {"tanh", NonLinearity::tanh}};

std::vector<std::string> known_keys() {
  config_detail::KeyCollector collector;
  const ScotConfig defaults;
  ScotConfig::visit(defaults, collector);
  return std::move(collector.keys);
}

/// Checks one configuration; errors carry the line of the key in the document they came from.
class Checker {
 public:
  Checker(const ScotConfig& config, const ConfigValue& document, bool in_run_file) : c_(config), in_run_file_(in_run_file) {
    document_ = in_run_file ? ConfigValue::map({{"model", document}}) : document;
  }

  void check() const {
    check_sizes();
    check_lists();
    check_levels();
    check_choices();
    check_loss();
  }

 private:
  template <class... Parts>
  [[noreturn]] void fail(const std::string& key, const Parts&... what) const {
    throw config_error(document_, in_run_file_ ? "model." + key : key, concat(what...));
  }

  void at_least(const std::string& key, double value, double least) const {
    if (!(value >= least)) fail(key, value, " is impossible; it must be at least ", least);
  }
  void at_most(const std::string& key, double value, double most) const {
    if (value > most) fail(key, value, " is impossible; it must be at most ", most);
  }
  void probability(const std::string& key, double value) const {
    if (!(value >= 0.0 && value < 1.0)) fail(key, value, " is not a probability below 1; allowed: 0 <= ", key, " < 1");
  }

  void check_sizes() const {
    at_least("image_size", c_.image_size, 1);
    at_most("image_size", c_.image_size, kMostPoints);
    at_least("patch_size", c_.patch_size, 1);
    at_least("num_channels", c_.num_channels, 1);
    at_least("num_out_channels", c_.num_out_channels, 1);
    at_least("embed_dim", c_.embed_dim, 1);
    at_least("window_size", c_.window_size, 2);
    at_least("initializer_range", c_.initializer_range, 0.0);
    at_most("initializer_range", c_.initializer_range, 1e6);
    at_most("layer_norm_eps", c_.layer_norm_eps, 1e6);
    if (!(c_.layer_norm_eps > 0.0)) fail("layer_norm_eps", c_.layer_norm_eps, " is impossible; it must be above 0");
    if (c_.image_size % c_.patch_size != 0) {
      const std::int64_t below = c_.grid() * c_.patch_size;
      fail("image_size", c_.image_size, " is not a multiple of patch_size ", c_.patch_size, "; choose ",
           below > 0 ? concat(below, " or ") : std::string(), below + c_.patch_size);
    }
    probability("hidden_dropout_prob", c_.hidden_dropout_prob);
    probability("attention_probs_dropout_prob", c_.attention_probs_dropout_prob);
    probability("drop_path_rate", c_.drop_path_rate);
  }

  void check_lists() const {
    const std::size_t levels = c_.depths.size();
    if (levels == 0 || levels > 16) fail("depths", "has ", levels, " entries; one per level is needed, 1 to 16 of them");
    if (c_.num_heads.size() != levels) {
      fail("num_heads", "has ", c_.num_heads.size(), " entries, but depths has ", levels, " levels; give one number of heads per level");
    }
    if (c_.skip_connections.size() != levels) {
      fail("skip_connections", "has ", c_.skip_connections.size(), " entries, but depths has ", levels,
           " levels; give one number of blocks (or true, false) per level");
    }
    for (std::size_t level = 0; level < levels; ++level) {
      at_least(concat("depths[", level, "]"), c_.depths[level], 0);
      at_most(concat("depths[", level, "]"), c_.depths[level], 1000);
      at_least(concat("num_heads[", level, "]"), c_.num_heads[level], 1);
      const ConfigValue& skip = c_.skip_connections[level];
      if (skip.kind() != Kind::boolean && (skip.kind() != Kind::integer || skip.as_integer() < 0 || skip.as_integer() > 1000)) {
        fail(concat("skip_connections[", level, "]"), "expected a number of blocks from 0 to 1000, true or false, found ",
             skip.described());
      }
    }
  }

  void check_levels() const {
    constexpr std::int64_t kWidest = std::int64_t{1} << 24;  // features: products of two widths are far from overflow
    for (int level = 0; level < c_.num_levels(); ++level) {
      if (c_.width(level) > kWidest)
        fail("embed_dim", c_.embed_dim, " makes level ", level, " ", c_.width(level), " wide; at most ", kWidest);
      if (c_.mlp_ratio * static_cast<double>(c_.width(level)) > kWidest) {
        fail("mlp_ratio", c_.mlp_ratio, " times a width of ", c_.width(level), " is more than ", kWidest);
      }
      const int heads = c_.num_heads[static_cast<std::size_t>(level)];
      if (c_.width(level) % heads != 0) {
        fail(concat("num_heads[", level, "]"), heads, " heads do not divide the level's width of ", c_.width(level), " (embed_dim ",
             c_.embed_dim, " times 2^", level, "); choose a divisor");
      }
      if (c_.mlp_width(level) < 1)
        fail("mlp_ratio", c_.mlp_ratio, " times a width of ", c_.width(level), " is less than 1; choose a larger one");
      if (c_.depths[static_cast<std::size_t>(level)] > 0 && c_.grid() >> level < 2) {
        fail("depths", "level ", level, " has ", c_.grid() >> level, " tokens per side, and windows need at least 2: image_size ",
             c_.image_size, " / patch_size ", c_.patch_size, " halves ", level, " times; use fewer levels or more points");
      }
      if (level > 0 && c_.grid() >> (level - 1) < 1) fail("depths", c_.num_levels(), " levels are more than the grid can be halved");
    }
  }

  void check_choices() const {
    if (!kActivations.contains(c_.hidden_act)) {
      std::string allowed;
      for (const auto& [name, function] : kActivations) allowed += concat(allowed.empty() ? "" : ", ", name);
      fail("hidden_act", "\"", c_.hidden_act, "\" is not one of them; allowed: ", allowed);
    }
    if (c_.residual_model != "convnext" && c_.residual_model != "resnet") {
      fail("residual_model", "\"", c_.residual_model, "\" is unknown; allowed: convnext, resnet");
    }
    if (c_.learn_residual && c_.num_channels < c_.num_out_channels && c_.num_channels != 1) {
      fail("learn_residual", "adds ", c_.num_channels, " input channels (num_channels) to ", c_.num_out_channels,
           " output channels (num_out_channels); it needs as many, or more, or one");
    }
  }

  void check_loss() const {
    if (c_.p != 1 && c_.p != 2) fail("p", c_.p, " is not a loss; allowed: 1 (absolute errors), 2 (squared errors)");
    if (!c_.channel_slice_list_normalized_loss) return;
    const std::string key = "channel_slice_list_normalized_loss";
    const std::vector<int>& slices = *c_.channel_slice_list_normalized_loss;
    if (slices.size() < 2) fail(key, "has ", slices.size(), " entries; it needs the first channel of each group and the end");
    for (std::size_t i = 0; i < slices.size(); ++i) {
      const int least = i == 0 ? 0 : slices[i - 1] + 1;
      if (slices[i] < least || slices[i] > c_.num_out_channels) {
        fail(concat(key, "[", i, "]"), slices[i], " does not fit; entries ascend and lie within 0 and num_out_channels ",
             c_.num_out_channels);
      }
    }
  }

  const ScotConfig& c_;
  bool in_run_file_;
  ConfigValue document_;
};

}  // namespace

int ScotConfig::skip_blocks(int level) const {
  const ConfigValue& count = skip_connections[static_cast<std::size_t>(level)];
  return count.kind() == Kind::boolean ? (count.as_bool() ? 1 : 0) : static_cast<int>(count.as_integer());
}

NonLinearity ScotConfig::activation() const { return kActivations.at(hidden_act); }

std::int64_t ScotConfig::mlp_width(int level) const { return static_cast<std::int64_t>(mlp_ratio * static_cast<double>(width(level))); }

bool is_hugging_face_config(const ConfigValue& document) {
  return document.kind() == Kind::map && document.find("type") == nullptr &&
         (document.find("architectures") != nullptr || document.find("model_type") != nullptr);
}

ScotConfig read_scot_config(const ConfigValue& document) {
  const bool foreign = is_hugging_face_config(document);
  ConfigValue ours = document;
  if (foreign) {
    const std::vector<std::string> known = known_keys();
    ours = ConfigValue::map();
    for (const auto& [key, value] : document.entries()) {
      if (std::ranges::find(known, key) != known.end()) ours.set(key, value);
    }
  }
  ScotConfig config = read_config<ScotConfig>(ours, foreign ? "" : "model");
  Checker(config, ours, !foreign).check();
  config.learn_residual = config.learn_residual && config.use_conditioning;  // as the reference does, silently
  return config;
}

ConfigValue hugging_face_config(const ScotConfig& config, const ConfigValue& document) {
  ConfigValue merged = ConfigValue::map({{"architectures", ConfigValue::list({"ScOT"})},
                                         {"model_type", "swinv2"},
                                         {"pretrained_window_sizes", ConfigValue::list({0, 0, 0, 0})},
                                         {"transformers_version", "4.35.2"}});
  if (is_hugging_face_config(document)) {
    for (const auto& [key, value] : document.entries()) merged.set(key, value);
  }
  const ConfigValue ours = write_config(config);
  for (const auto& [key, value] : ours.entries()) merged.set(key, value);
  merged.set("hidden_size", config.width(config.num_levels() - 1));
  merged.set("num_layers", config.num_levels());
  std::vector<ConfigValue::Entry> entries = merged.entries();
  std::ranges::sort(entries, {}, &ConfigValue::Entry::first);
  return ConfigValue::map(std::move(entries));
}

}  // namespace trident
