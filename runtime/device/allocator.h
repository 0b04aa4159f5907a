/// Memory of tensors: cached blocks with byte counters, so that a steady training step asks the system for nothing.
#pragma once

#include <cstddef>
#include <cstdint>

#include "runtime/device/device.h"

namespace trident {

/// One block of memory, 64-byte aligned, given back to the cache of its device when destroyed. Contents are not initialised.
class Block {
 public:
  Block() = default;
  Block(std::size_t bytes, Device device);  // throws DeviceError when there is no memory
  ~Block();
  Block(Block&& other) noexcept;
  Block& operator=(Block&& other) noexcept;

  void* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }
  Device device() const { return device_; }

 private:
  void* data_ = nullptr;
  std::size_t bytes_ = 0;     // as asked for
  std::size_t capacity_ = 0;  // as taken from the cache
  Device device_;
};

struct MemoryCounters {
  std::int64_t in_use_bytes = 0;        // held by live blocks
  std::int64_t peak_bytes = 0;          // largest in_use_bytes since the last reset
  std::int64_t reserved_bytes = 0;      // taken from the system: in use and cached
  std::int64_t system_allocations = 0;  // times that the system was asked
};

MemoryCounters memory_counters(Device device);
void reset_peak(Device device);
/// Gives the cached blocks that nobody holds back to the system.
void empty_cache(Device device);

}  // namespace trident
