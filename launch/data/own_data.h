/// Data of the user's own become a Problem.
#pragma once

#include "launch/data/data_config.h"
#include "models/problem.h"

namespace trident {

/// Checks the description alone. Throws ConfigError naming the key.
void check_own_data(const DataEntry& entry);
/// Reads the axes of the variables from the file. Throws ConfigError, DataError.
Problem own_problem(const DataEntry& entry);
/// Without its variables, which only the file knows. Throws ConfigError.
Problem announced_own_problem(const DataEntry& entry);

}  // namespace trident
