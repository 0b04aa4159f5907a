/// trident.json: what our training adds to a model directory, so that fields can be physical when the model is used.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "models/problem.h"
#include "runtime/config.h"

namespace trident {

/// What a model was trained on.
struct ModelDescription {
  std::vector<Problem> problems;  // each name once: channels, constants, time scale, time settings

  static void visit(auto& self, auto& v) { v("problems", self.problems); }
};

/// From the document, or of a model that has none.
ModelDescription read_model_description(const std::optional<ConfigValue>& document);

/// The problem called `name`: one of the model's own, else of the table. Throws ConfigError with the names that there are.
Problem problem_named(const ModelDescription& description, const std::string& name);

}  // namespace trident
