/// Navier-Stokes data sets like those of PDEgym, solved here.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "launch/generate/initial_flow.h"
#include "runtime/tensor/shape.h"

namespace trident {

class Communicator;

struct GenerateOptions {
  std::string problem;            // "NS-Sines", ...
  std::int64_t trajectories = 0;  // how many
  std::int64_t first = 0;         // number of the first one: a trajectory depends on the seed and its number alone
  int resolution = 128;           // points per side
  std::string output;
  std::int64_t seed = 0;
  double viscosity = 4e-4;     // unit square per unit time
  double viscous_above = 0.0;  // cycles per side; larger scales feel no viscosity
  double velocity_std = 0.39;  // root mean square of a velocity component at time 0
  bool overwrite = false;
};

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
/// of them. Rank 0 reports on standard error. SIGTERM ends it, nothing written. Throws ConfigError, DataError, Error.
void generate_flow_set(const GenerateOptions& options, Communicator& world);

}  // namespace trident
