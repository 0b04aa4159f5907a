/// What `trident generate` is told, whatever it solves.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "runtime/error.h"

namespace trident {

struct GenerateOptions {
  std::string problem;            // "NS-Sines", ..., "Darcy", "Burgers1D"
  std::int64_t trajectories = 0;  // how many
  std::int64_t first = 0;         // number of the first one: a trajectory depends on the seed and its number alone
  int resolution = 128;           // points per side
  std::string output;
  std::int64_t seed = 0;
  bool overwrite = false;
  // Navier-Stokes; the viscosity is Burgers' too.
  double viscosity = 4e-4;     // unit square per unit time
  double viscous_above = 0.0;  // cycles per side; larger scales feel no viscosity
  double velocity_std = 0.39;  // root mean square of a velocity component at time 0
  // Darcy.
  std::string coefficient = "two-phase";  // | log-normal
};

/// Throws ConfigError that names the option, its value and what is allowed, unless it is fine.
template <class Value>
void require_option(bool is_fine, const char* option, const Value& value, const char* allowed) {
  if (!is_fine) throw ConfigError(concat("generate: --", option, " ", value, " is not possible; give ", allowed));
}

/// What all problems ask for: counts, at least `least_resolution` points, a file that may be written.
void check_sample_options(const GenerateOptions& options, int least_resolution);

}  // namespace trident
