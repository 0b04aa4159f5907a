/// One run of the program on one rank: the flags that every command has, and the ranks of the job.
#pragma once

#include <array>
#include <optional>
#include <string>

#include "parallel/session.h"
#include "runtime/tensor/dtype.h"

namespace trident {

enum class DeviceChoice { cpu, cuda };
inline auto config_names(DeviceChoice) { return std::array{std::pair{DeviceChoice::cpu, "cpu"}, std::pair{DeviceChoice::cuda, "cuda"}}; }

enum class Precision { f32, f64, bf16 };
inline auto config_names(Precision) {
  return std::array{std::pair{Precision::f32, "f32"}, std::pair{Precision::f64, "f64"}, std::pair{Precision::bf16, "bf16"}};
}
DType dtype_of_precision(Precision precision);

/// Flags of every command; unset ones leave the choice to the run file, the model, or the machine.
struct CommonOptions {
  std::optional<DeviceChoice> device;
  std::optional<Precision> precision;
  std::optional<int> threads;
  bool json = false;  // one JSON object on standard output
};

struct CommandContext {
  CommonOptions common;
  Session& session;     // the ranks of the job
  std::string threads;  // "2 threads a rank", for start lines
};

/// Gives this process --threads, or its share of the host's cores. Collective.
void set_threads(CommandContext& context);

enum class Overwrite { no, yes };
/// Before what may take hours: throws ConfigError if there is no folder for `path`, or something there that must not be replaced.
void check_target(const std::string& path, Overwrite overwrite);

}  // namespace trident
