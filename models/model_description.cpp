#include "models/model_description.h"

#include <algorithm>

#include "runtime/error.h"

namespace trident {
namespace {

const Problem* find(const std::vector<Problem>& problems, std::string_view name) {
  const auto found = std::ranges::find(problems, name, &Problem::name);
  return found == problems.end() ? nullptr : &*found;
}

}  // namespace

ConfigValue to_config(const ModelDescription& description) { return write_config(description); }
ModelDescription model_description_from_config(const ConfigValue& value) { return read_config<ModelDescription>(value); }

Problem find_problem(const ModelDescription& description, std::string_view name) {
  if (const Problem* own = find(description.problems, name)) return *own;
  try {
    const Problem published = find_problem(name);
    const Problem* const own = find(description.problems, published.name);  // asked for by the reference's name
    return own != nullptr ? *own : published;
  } catch (const ConfigError& error) {
    std::string names;
    for (const Problem& problem : description.problems) names += (names.empty() ? "; the model was trained on " : ", ") + problem.name;
    throw ConfigError(error.what() + names);
  }
}

}  // namespace trident
