/// Data sets of one input and one output field: Darcy and Burgers1D.
#pragma once

#include <string>
#include <vector>

#include "launch/generate/generate_options.h"

namespace trident {

class Communicator;

inline constexpr const char* kDarcySet = "Darcy";
inline constexpr const char* kBurgersSet = "Burgers1D";
std::vector<std::string> pair_set_names();
bool is_pair_set(const std::string& name);

/// Solves and writes the variables x and y, shared out over the ranks of `world` and their threads; collective. Darcy: x the medium and y
/// the pressure, (sample, y, x). Burgers1D: x the initial state (sample, x), y the frames (sample, time, x), 17 from time 0 to 1. The data
/// are the same on any number of ranks and threads. SIGTERM ends it, nothing written. Throws ConfigError, DataError, Error.
void generate_pair_set(const GenerateOptions& options, Communicator& world);

}  // namespace trident
