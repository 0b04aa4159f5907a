/// Data of the user's own become a Problem.
#pragma once

#include <optional>
#include <string>

#include "launch/data/data_config.h"
#include "models/problem.h"

namespace trident {

/// Checks the description alone. Throws ConfigError naming the key.
void check_own_data(const DataEntry& entry);
/// Reads the axes of the variables from the file. Throws ConfigError, DataError.
Problem own_problem(const DataEntry& entry);
/// Throws ConfigError where fields with one axis of space more than the problem has would have the shapes of its variables, and pass for
/// channels of which the first are read.
void require_certain_axes(const DataEntry& entry, const Problem& problem);
/// Without its variables, which only the file knows. Throws ConfigError.
Problem announced_own_problem(const DataEntry& entry);

}  // namespace trident
