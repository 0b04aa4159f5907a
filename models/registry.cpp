#include <functional>

#include "models/fno/fno.h"
#include "models/mg_tfno/mg_tfno.h"
#include "models/model.h"
#include "models/scot/scot.h"
#include "runtime/error.h"

namespace trident {
namespace {

constexpr const char* kTypes = "scot, fno, tfno, mg_tfno";

std::string type_of(const ConfigValue& config) {
  if (is_hugging_face_config(config)) return "scot";
  const ConfigValue* type = config.kind() == ConfigValue::Kind::map ? config.find("type") : nullptr;
  if (type == nullptr) {
    throw config_error(config, "type", concat("is missing; it says which model the other keys describe. Allowed: ", kTypes));
  }
  return type->as_string();
}

ConfigValue without_type(const ConfigValue& config) {
  std::vector<ConfigValue::Entry> entries;
  for (const ConfigValue::Entry& entry : config.entries()) {
    if (entry.first != "type") entries.push_back(entry);
  }
  return ConfigValue::map(std::move(entries));
}

}  // namespace

Model describe_model(const ConfigValue& config, const Mesh& mesh) {
  const std::string type = type_of(config);
  const ConfigValue own = without_type(config);
  if (type == "scot") return Model(std::make_shared<Scot>(read_scot_config(own), own, mesh));
  if (type == "fno") return Model(std::make_shared<Fno>(read_fno_config(own), type, mesh));
  if (type == "tfno") return Model(std::make_shared<Fno>(read_fno_config(with_tfno_defaults(own)), type, mesh));
  if (type == "mg_tfno") return Model(std::make_shared<MgTfno>(own, mesh));
  throw config_error(config, "type",
                     concat("\"", type, "\" is not a model; ", suggestion(type, {"scot", "fno", "tfno", "mg_tfno"}), "allowed: ", kTypes));
}

ParameterList materialize(const Model& model, DType dtype, Use use, std::optional<RandomKey> key, const std::vector<std::string>& frozen,
                          Device device) {
  return materialize([&](const ParameterVisitor& visitor) { model->visit(visitor); }, dtype, use, key, frozen, device);
}

}  // namespace trident
