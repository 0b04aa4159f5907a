#include "launch/generate/generate_options.h"

#include <filesystem>
#include <limits>

namespace trident {

void check_sample_options(const GenerateOptions& options, int least_resolution) {
  require_option(options.trajectories >= 1, "trajectories", options.trajectories, "1 or more");
  require_option(options.first >= 0 && options.first <= std::numeric_limits<std::int64_t>::max() - options.trajectories, "first",
                 options.first, "0 or more, and numbers that 63 bits can count");
  require_option(options.resolution >= least_resolution && options.resolution <= 8192, "resolution", options.resolution,
                 concat(least_resolution, " to 8192 points per side").c_str());
  if (options.output.empty()) throw ConfigError("generate: --output is missing; name the file to write");
  if (std::filesystem::exists(options.output) && !options.overwrite) {
    throw ConfigError(concat("generate: ", options.output, " exists; remove it, or replace it by --overwrite"));
  }
}

}  // namespace trident
