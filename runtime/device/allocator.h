/// Memory of tensors: cached blocks with byte counters, so that a steady training step asks the system for nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "runtime/device/device.h"

namespace trident {

class CudaStream;

/// One block of memory (64-byte aligned, on a GPU 256), given back to the cache of its device when destroyed. Contents are not initialised.
/// On a GPU it belongs to the stream that was current when it was made, which uses its memory again behind what is on it when the block is
/// destroyed: who uses it on another stream holds it until that has ended, or until its own stream is ordered behind.
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
  const void* pool_ = nullptr;  // the part of the cache that it goes back to
};

/// Memory of a captured graph, which nothing else may use while the graph lives. Given back to the system at the end.
class MemoryPool {
 public:
  explicit MemoryPool(Device device) : device_(device) {}
  ~MemoryPool();
  MemoryPool(const MemoryPool&) = delete;
  MemoryPool& operator=(const MemoryPool&) = delete;

 private:
  friend class UsingPool;
  Device device_;
};
/// While it lives, blocks of the pool's device that this thread makes come from `pool`; they go back to it whenever they are destroyed.
class UsingPool {
 public:
  explicit UsingPool(const MemoryPool& pool);
  ~UsingPool();
  UsingPool(const UsingPool&) = delete;
  UsingPool& operator=(const UsingPool&) = delete;

 private:
  Device device_;
  const void* before_;
};

struct MemoryCounters {
  std::int64_t in_use_bytes = 0;        // held by live blocks
  std::int64_t peak_bytes = 0;          // largest in_use_bytes since the last reset
  std::int64_t reserved_bytes = 0;      // taken from the system: in use and cached
  std::int64_t system_allocations = 0;  // times that the system was asked
  std::int64_t allocated_bytes = 0;     // of all blocks that were ever made
};

MemoryCounters memory_counters(Device device);
void reset_peak(Device device);
/// Gives the cached blocks that nobody holds back to the system, but those of graphs; of a GPU pinned memory too.
void empty_cache(Device device);

/// The same for the blocks that belong to a stream: its last act.
void release_stream_memory(CudaStream& stream);

/// Memory of the host that copies to and from GPUs reach without waiting (hold it until they have ended); ordinary memory without CUDA.
std::shared_ptr<void> pinned_memory(std::size_t bytes);

}  // namespace trident
