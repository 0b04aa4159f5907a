/// Where a tensor's memory lives.
#pragma once

#include <string>

namespace trident {

struct Device {
  enum class Kind { cpu, cuda };
  Kind kind = Kind::cpu;
  int index = 0;  // of the GPU in this process; 0 on the CPU

  bool operator==(const Device&) const = default;
};

inline constexpr int kMostDevices = 64;  // of one process

inline std::string to_string(Device device) { return device.kind == Device::Kind::cpu ? "cpu" : "cuda:" + std::to_string(device.index); }

namespace build {
#ifdef TRIDENT_WITH_CUDA
inline constexpr bool kHasCuda = true;  // also where only the tests' emulated device is built in
#else
inline constexpr bool kHasCuda = false;
#endif
}  // namespace build

}  // namespace trident
