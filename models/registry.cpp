#include <algorithm>
#include <array>

#include "models/fno/fno.h"
#include "models/mg_tfno/mg_tfno.h"
#include "models/model.h"
#include "models/scot/scot.h"
#include "runtime/error.h"

namespace trident {
namespace {

/// A type of model: how a configuration of it, without `type`, is described and what else checks it.
struct ModelType {
  const char* name;
  Model (*describe)(const ConfigValue& config, const Mesh& mesh);
  void (*check_keys)(const ConfigValue& keys);
};

template <class Config>
void check_keys_of(const ConfigValue& keys) {
  read_config<Config>(keys, "model");
}

const std::array kModelTypes{
    ModelType{"scot", [](const ConfigValue& c, const Mesh& mesh) { return Model(std::make_shared<Scot>(read_scot_config(c), c, mesh)); },
              check_keys_of<ScotConfig>},
    ModelType{"fno", [](const ConfigValue& c, const Mesh& mesh) { return Model(std::make_shared<Fno>(read_fno_config(c), "fno", mesh)); },
              check_keys_of<FnoConfig>},
    ModelType{"tfno",
              [](const ConfigValue& c, const Mesh& mesh) {
                return Model(std::make_shared<Fno>(read_fno_config(with_tfno_defaults(c)), "tfno", mesh));
              },
              check_keys_of<FnoConfig>},
    ModelType{"mg_tfno", [](const ConfigValue& c, const Mesh& mesh) { return Model(std::make_shared<MgTfno>(c, mesh)); },
              check_mg_tfno_keys},
};

std::vector<std::string> type_names() {
  std::vector<std::string> names;
  for (const ModelType& type : kModelTypes) names.emplace_back(type.name);
  return names;
}

std::string allowed_types() {
  std::string allowed;
  for (const std::string& name : type_names()) allowed += (allowed.empty() ? "allowed: " : ", ") + name;
  return allowed;
}

std::string type_of(const ConfigValue& config) {
  if (is_hugging_face_config(config)) return "scot";
  const ConfigValue* type = config.kind() == ConfigValue::Kind::map ? config.find("type") : nullptr;
  if (type == nullptr) {
    throw config_error(ConfigValue::map({{"model", config}}), "model.type",
                       concat("is missing; it says which model the other keys describe; ", allowed_types()));
  }
  return read_config<std::string>(*type, "model.type");
}

const ModelType& model_type(const ConfigValue& config) {
  const std::string name = type_of(config);
  const auto* const type = std::ranges::find_if(kModelTypes, [&](const ModelType& candidate) { return name == candidate.name; });
  if (type != kModelTypes.end()) return *type;
  throw config_error(ConfigValue::map({{"model", config}}), "model.type",
                     concat("\"", name, "\" is not a model; ", suggestion(name, type_names()), allowed_types()));
}

ConfigValue without_type(const ConfigValue& config) {
  std::vector<ConfigValue::Entry> entries;
  for (const ConfigValue::Entry& entry : config.entries()) {
    if (entry.first != "type") entries.push_back(entry);
  }
  return ConfigValue::map(std::move(entries));
}

}  // namespace

Model describe_model(const ConfigValue& config, const Mesh& mesh) { return model_type(config).describe(without_type(config), mesh); }

void check_model_keys(const ConfigValue& config) { model_type(config).check_keys(without_type(config)); }

ParameterList materialize(const Model& model, DType dtype, Use use, std::optional<RandomKey> key, const std::vector<std::string>& frozen,
                          Device device) {
  return materialize([&](const ParameterVisitor& visitor) { model->visit(visitor); }, dtype, use, key, frozen, device);
}

}  // namespace trident
