#include "checkpoint/neuralop_config.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "checkpoint/joint_factorization.h"

#include "runtime/error.h"

namespace trident {
namespace {

using Kind = ConfigValue::Kind;

/// A key of 0.3.0 and ours.
struct KeyRule {
  std::string_view theirs, ours;
};
constexpr KeyRule kV03Keys[] = {
    {"use_mlp", "use_channel_mlp"},   {"mlp_dropout", "channel_mlp_dropout"},
    {"mlp_skip", "channel_mlp_skip"}, {"mlp_expansion", "channel_mlp_expansion"},
    {"SpectralConv", "conv_module"},  {"output_scaling_factor", "resolution_scaling_factor"},
};

/// Of the classes for one number of dimensions (FNO2d, ...), in order.
constexpr std::array<std::string_view, 3> kModeKeys{"n_modes_height", "n_modes_width", "n_modes_depth"};

/// The constructor's parameters by position.
constexpr std::array<std::string_view, 4> kPositions{"n_modes", "in_channels", "out_channels", "hidden_channels"};
constexpr std::array<std::string_view, 4> kV03Positions{"n_modes", "hidden_channels", "in_channels", "out_channels"};

/// What stands beside the arguments, or changes nothing that is computed.
bool is_passed_over(std::string_view key) {
  constexpr std::array<std::string_view, 5> kKeys{"_version", "_name", "args", "verbose", "joint_factorization"};
  return std::ranges::find(kKeys, key) != kKeys.end();
}

void set_default(ConfigValue& config, std::string_view key, ConfigValue value) {
  if (config.find(key) == nullptr) config.set(key, std::move(value));
}

/// "fno" or "tfno" of FNO, TFNO, FNO2d, TFNO3d, ...
std::string type_named(std::string name, const std::string& where) {
  if (name.size() > 2 && name.back() == 'd') name.resize(name.size() - 2);
  if (name == "FNO") return "fno";
  if (name == "TFNO") return "tfno";
  throw CheckpointError(concat(where, ": holds a model called \"", name, "\"; only FNO and TFNO are read"));
}

bool is_factorized(const std::vector<StoredTensor>& tensors) {
  return std::ranges::any_of(tensors, [](const StoredTensor& tensor) { return tensor.name.find(".factors.") != std::string::npos; });
}

ConfigValue from_the_well(const ConfigValue& theirs, const std::vector<StoredTensor>& tensors, const std::string& where) {
  const auto number = [&](const std::string& key) {
    const ConfigValue* value = theirs.find(key);
    if (value == nullptr || value->kind() != Kind::integer)
      throw CheckpointError(concat(where, ": has no whole number \"", key, "\"; fetch it again"));
    return value->as_integer();
  };
  const std::int64_t dims = number("n_spatial_dims");
  if (dims < 1 || dims > 3) throw CheckpointError(concat(where, ": n_spatial_dims is ", dims, "; 1 to 3 are known"));
  ConfigValue modes = ConfigValue::list();
  for (std::int64_t dim = 1; dim <= dims; ++dim) modes.append(number(concat("modes", dim)));
  return ConfigValue::map({{"_name", is_factorized(tensors) ? "TFNO" : "FNO"},
                           {"n_modes", modes},
                           {"in_channels", number("dim_in")},
                           {"out_channels", number("dim_out")},
                           {"hidden_channels", number("hidden_channels")}});
}

/// Positional arguments and the modes of the classes for one number of dimensions, by name.
ConfigValue named_arguments(ConfigValue arguments, NeuralopLayout layout, const std::string& where) {
  const auto& positions = layout == NeuralopLayout::v0_3 ? kV03Positions : kPositions;
  if (const ConfigValue* values = arguments.find("args"); values != nullptr && values->kind() == Kind::list) {
    const std::vector<ConfigValue> list = values->elements();
    if (list.size() > positions.size()) {
      throw CheckpointError(
          concat(where, ": its model was made with ", list.size(), " arguments without names; at most ", positions.size(), " are known"));
    }
    for (std::size_t i = 0; i < list.size(); ++i) arguments.set(positions[i], list[i]);
  }
  ConfigValue modes = ConfigValue::list();
  for (const std::string_view key : kModeKeys) {
    if (const ConfigValue* mode = arguments.find(key)) modes.append(*mode);
  }
  if (!modes.elements().empty()) arguments.set("n_modes", modes);
  return arguments;
}

/// What 0.3.0 takes where nothing is said, and what it always does.
void add_v0_3(ConfigValue& config, const std::vector<StoredTensor>& tensors) {
  set_default(config, "in_channels", 3);
  set_default(config, "out_channels", 1);
  set_default(config, "lifting_channels", 256);
  set_default(config, "projection_channels", 256);
  set_default(config, "use_channel_mlp", false);
  set_default(config, "fno_skip", "linear");
  set_default(config, "channel_mlp_skip", "soft-gating");
  set_default(config, "domain_padding_mode", "one-sided");
  if (is_factorized(tensors)) set_default(config, "factorization", "Tucker");
  set_default(config, "rank", 1.0);
  if (const ConfigValue rank = rank_of_joint_factorization(tensors); !rank.is_null()) config.set("rank", rank);
  config.set("positional_embedding", {});
  config.set("block_variant", "v0_3");
}

void check_v0_3(const ConfigValue& arguments, const std::string& where) {
  const ConfigValue* norm = arguments.find("fft_norm");
  if (norm != nullptr && norm->described() != "\"forward\"") {
    throw CheckpointError(concat(where, ": its model has fft_norm ", norm->described(), "; only \"forward\" is computed here"));
  }
}

bool is_variant(const ConfigValue& config, const std::string& name) {
  const ConfigValue* variant = config.find("block_variant");
  return variant != nullptr && variant->kind() == Kind::string && variant->as_string() == name;
}

}  // namespace

bool is_the_well_config(const ConfigValue& config) {
  return config.kind() == Kind::map && config.find("dim_in") != nullptr && config.find("n_spatial_dims") != nullptr;
}

ConfigValue config_from_neuralop(const ConfigValue& arguments, NeuralopLayout layout, const std::vector<StoredTensor>& tensors,
                                 const std::string& where) {
  if (arguments.kind() != Kind::map)
    throw CheckpointError(concat(where, ": holds no arguments of a model; give the folder that the package wrote"));
  const bool from_well = is_the_well_config(arguments);
  const ConfigValue named = named_arguments(from_well ? from_the_well(arguments, tensors, where) : arguments, layout, where);
  const ConfigValue* name = named.find("_name");
  ConfigValue config = ConfigValue::map();
  config.set("type", name != nullptr && name->kind() == Kind::string ? type_named(name->as_string(), where) : "fno");
  for (const auto& [key, value] : named.entries()) {
    if (is_passed_over(key) || std::ranges::find(kModeKeys, key) != kModeKeys.end()) continue;
    std::string_view ours = key;
    if (layout == NeuralopLayout::v0_3) {
      if (key == "fft_norm") continue;
      for (const KeyRule& rule : kV03Keys) {
        if (rule.theirs == key) ours = rule.ours;
      }
    }
    config.set(ours, value);
  }
  if (layout == NeuralopLayout::v0_3) {
    check_v0_3(named, where);
    add_v0_3(config, tensors);
  } else if (named.find("domain_padding_mode") != nullptr) {  // an argument that 2.0 no longer has
    config.set("block_variant", "v1");
  }
  return config;
}

NeuralopLayout neuralop_layout_for(const ConfigValue& config) {
  return is_variant(config, "v0_3") ? NeuralopLayout::v0_3 : NeuralopLayout::current;
}

ConfigValue arguments_for_neuralop(const ConfigValue& config, const std::string& where) {
  const NeuralopLayout layout = neuralop_layout_for(config);
  const ConfigValue* type = config.find("type");
  if (type == nullptr || (type->as_string() != "fno" && type->as_string() != "tfno")) {
    throw CheckpointError(concat(where, ": only models of type fno and tfno can be written for neuraloperator; choose --to trident"));
  }
  // Beyond the package's own arguments: what it always does, or takes where it is told nothing.
  ConfigValue unsaid = ConfigValue::map({{"non_linearity", "gelu"},
                                         {"conv_module", "SpectralConv"},
                                         {"SpectralConv", "SpectralConv"},
                                         {"norm_groups", 1},
                                         {"conv_bias_kernel", 1},
                                         {"enforce_hermitian_symmetry", true}});
  if (layout == NeuralopLayout::v0_3) {
    for (const char* key : {"positional_embedding", "complex_data", "lifting_channel_ratio", "projection_channel_ratio"})
      unsaid.set(key, {});
  } else {
    if (!is_variant(config, "v1")) unsaid.set("domain_padding_mode", "symmetric");
    unsaid.set("lifting_channels", {});
    unsaid.set("projection_channels", {});
  }
  ConfigValue arguments = ConfigValue::map();
  for (const auto& [key, value] : config.entries()) {
    if (key == "type" || key == "block_variant") continue;
    std::string_view theirs = key;
    for (const KeyRule& rule : kV03Keys) {
      if (layout == NeuralopLayout::v0_3 && rule.ours == key) theirs = rule.theirs;
    }
    if (const ConfigValue* usual = unsaid.find(theirs)) {
      const bool is_ratio = key.ends_with("_channel_ratio") || key == "complex_data";
      if (is_ratio || to_json(*usual, 0) == to_json(value, 0)) continue;
      throw CheckpointError(
          concat(where, ": neuraloperator's files have no place for ", key, ": ", value.described(), "; choose --to trident"));
    }
    arguments.set(theirs, value);
  }
  arguments.set("_version", "0.1.0");
  arguments.set("args", ConfigValue::list());
  arguments.set("_name", type->as_string() == "fno" ? "FNO" : "TFNO");
  return arguments;
}

}  // namespace trident
