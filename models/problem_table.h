/// The table of the published problems.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "models/problem.h"

namespace trident {

struct ProblemEntry {
  Problem problem{};
  std::string reference{};            // the name in Poseidon's own code
  std::optional<TimeSettings> out{};  // of the ending `.out`
  std::optional<Channel> tracer{};    // of the ending `.tracer`
  bool ignores_tracer = false;        // accepts `.tracer` and reads no more channels for it, as the reference does
};

const std::vector<ProblemEntry>& problem_table();

}  // namespace trident
