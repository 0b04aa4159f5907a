#include "models/model_description.h"

#include "runtime/error.h"

namespace trident {

ModelDescription read_model_description(const std::optional<ConfigValue>& document) {
  return document ? read_config<ModelDescription>(*document) : ModelDescription{};
}

Problem problem_named(const ModelDescription& description, const std::string& name) {
  std::string names;
  for (const Problem& problem : description.problems) {
    if (problem.name == name) return problem;
    names += (names.empty() ? "" : ", ") + problem.name;
  }
  try {
    return find_problem(name);
  } catch (const ConfigError& error) {
    if (names.empty()) throw;
    throw ConfigError(concat(error.what(), "; the model was trained on ", names));
  }
}

}  // namespace trident
