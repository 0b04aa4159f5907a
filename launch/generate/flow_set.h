/// Navier-Stokes data sets like those of PDEgym, solved here.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "launch/generate/generate_options.h"
#include "launch/generate/initial_flow.h"
#include "runtime/tensor/shape.h"

namespace trident {

class Communicator;

/// One of the families as a data set.
struct FlowSet {
  const char* name;
  FlowFamily family;
  int channels;     // u, v, and the tracer if 3
  bool transposed;  // the file's space axes are exchanged, its components are not
};
std::vector<std::string> flow_set_names();
/// Throws ConfigError with the names that there are.
const FlowSet& find_flow_set(const std::string& name);

inline constexpr int kFrames = 21;  // from time 0 to 1

/// One trajectory, row-major (frame, channel, x, y) as the file holds it.
void solve_trajectory(const FlowSet& set, const GenerateOptions& options, std::int64_t number, NavierStokes& solver, float* frames);

/// Solves and writes a data set, shared out over the ranks of `world` and their threads; collective. The data are the same on any number
/// of them. SIGTERM ends it, nothing written. Throws ConfigError, DataError, Error.
void generate_flow_set(const GenerateOptions& options, Communicator& world);

}  // namespace trident
