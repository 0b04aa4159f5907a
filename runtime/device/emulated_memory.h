/// Memory of the emulated device: addresses that host code can neither read nor write, so that tests find every place that tries.
#pragma once

#include <cstddef>
#include <cstdint>

namespace trident::emulation {

inline constexpr std::size_t kDeviceBytes = std::size_t{16} << 30;  // reserved as addresses; pages come when they are written

/// Null if there is no room. Every byte is 0xFF (not a number): what reads before it writes is noticed.
void* allocate(std::size_t bytes);
void release(void* data, std::size_t bytes);
/// Makes [data, data + bytes) of a live allocation 0xFF again, as new memory is.
void forget(void* data, std::size_t bytes);
bool is_device_address(const void* address);
/// Whether `word`, read as an address, is memory of this process that the device cannot reach.
bool is_host_address(std::uintptr_t word);

/// Device memory can be read and written, by any thread: in kernels and in copies. Each open() has its close().
void open();
void close();
class OpenMemory {
 public:
  OpenMemory() { open(); }
  ~OpenMemory() { close(); }
  OpenMemory(const OpenMemory&) = delete;
  OpenMemory& operator=(const OpenMemory&) = delete;
};

}  // namespace trident::emulation
