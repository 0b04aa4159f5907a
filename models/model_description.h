/// trident.json, beside the weights of a model that was trained here: what its fields mean.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "models/problem.h"

namespace trident {

struct ModelDescription {
  std::vector<Problem> problems;  // that it was trained on, with their constants, time scale, time settings and channel names

  static void visit(auto& self, auto& v) { v("problems", self.problems); }
};

ConfigValue to_config(const ModelDescription& description);
ModelDescription model_description_from_config(const ConfigValue& value);

/// The problem called `name` among those of the model, or else of the table: published models come without a description. Throws
/// ConfigError if neither knows it.
Problem find_problem(const ModelDescription& description, std::string_view name);

}  // namespace trident
