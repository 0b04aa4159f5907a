/// Where a tensor's memory lives.
#pragma once

#include <compare>
#include <string>

namespace trident {

struct Device {
  enum class Kind { cpu, cuda };
  Kind kind = Kind::cpu;
  int index = 0;  // of the GPU in this process; 0 on the CPU
  // Tensors have sizes and no memory, and operations on them compute nothing: what the allocator counts is what a real device would need.
  bool counted = false;

  /// Whether CUDA's driver has its memory.
  bool is_gpu() const { return kind == Kind::cuda && !counted; }
  auto operator<=>(const Device&) const = default;
};

inline constexpr int kMostDevices = 64;  // of one process

inline std::string to_string(Device device) {
  return (device.kind == Device::Kind::cpu ? "cpu" : "cuda:" + std::to_string(device.index)) + (device.counted ? " (counted)" : "");
}

namespace build {
#ifdef TRIDENT_WITH_CUDA
inline constexpr bool kHasCuda = true;  // also where only the tests' emulated device is built in
#else
inline constexpr bool kHasCuda = false;
#endif
}  // namespace build

}  // namespace trident
