#include "runtime/device/allocator.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "runtime/error.h"

namespace trident {
namespace {

constexpr std::size_t kAlignment = 64;                   // bytes: a cache line and an AVX-512 register
constexpr std::size_t kHugePage = std::size_t{2} << 20;  // bytes

#ifdef __SANITIZE_ADDRESS__
constexpr bool kCaching = false;  // the sanitizer sees misuse of a block only if it is really freed
#else
constexpr bool kCaching = true;
#endif

/// Rounds up to one of eight sizes per power of two, so that nearly equal requests share blocks and at most 1/8 is wasted.
std::size_t size_class(std::size_t bytes) {
  if (bytes <= 512) return (bytes + kAlignment - 1) / kAlignment * kAlignment;
  const std::size_t step = std::bit_floor(bytes) / 8;
  return (bytes + step - 1) / step * step;
}

class CpuCache {
 public:
  void* take(std::size_t capacity) {
    {
      const std::lock_guard lock(mutex_);
      count_in_use(static_cast<std::int64_t>(capacity));
      auto& blocks = free_[capacity];
      if (!blocks.empty()) {
        void* data = blocks.back();
        blocks.pop_back();
        return data;
      }
    }
    return from_system(capacity);
  }

  void give_back(void* data, std::size_t capacity) {
    const std::lock_guard lock(mutex_);
    counters_.in_use_bytes -= static_cast<std::int64_t>(capacity);
    if (kCaching) {
      free_[capacity].push_back(data);
    } else {
      counters_.reserved_bytes -= static_cast<std::int64_t>(capacity);
      std::free(data);
    }
  }

  MemoryCounters counters() {
    const std::lock_guard lock(mutex_);
    return counters_;
  }

  void reset_peak() {
    const std::lock_guard lock(mutex_);
    counters_.peak_bytes = counters_.in_use_bytes;
  }

  void empty() {
    const std::lock_guard lock(mutex_);
    for (auto& [capacity, blocks] : free_) {
      for (void* data : blocks) std::free(data);
      counters_.reserved_bytes -= static_cast<std::int64_t>(capacity * blocks.size());
      blocks.clear();
    }
  }

 private:
  void* from_system(std::size_t capacity) {
    const std::size_t alignment = capacity >= kHugePage ? kHugePage : kAlignment;
    const std::size_t rounded = (capacity + alignment - 1) / alignment * alignment;
    void* data = std::aligned_alloc(alignment, rounded);
    if (data == nullptr) {
      empty();
      data = std::aligned_alloc(alignment, rounded);
    }
    const std::lock_guard lock(mutex_);
    if (data == nullptr) {
      counters_.in_use_bytes -= static_cast<std::int64_t>(capacity);
      throw DeviceError(concat("cpu: cannot allocate ", capacity, " bytes with ", counters_.in_use_bytes,
                               " in use; take a smaller training.global_batch_size or more ranks"));
    }
    if (alignment == kHugePage) madvise(data, rounded, MADV_HUGEPAGE);
    counters_.reserved_bytes += static_cast<std::int64_t>(capacity);
    ++counters_.system_allocations;
    return data;
  }

  void count_in_use(std::int64_t bytes) {
    counters_.in_use_bytes += bytes;
    counters_.peak_bytes = std::max(counters_.peak_bytes, counters_.in_use_bytes);
  }

  std::mutex mutex_;
  std::map<std::size_t, std::vector<void*>> free_;
  MemoryCounters counters_;
};

CpuCache& cpu_cache() {
  // Never destroyed: tensors with static storage may outlive every other static object.
  static CpuCache& cache = *new CpuCache;
  return cache;
}

void require_cpu(Device device) {
  if (device.kind != Device::Kind::cpu) {
    throw DeviceError(concat("memory: ", to_string(device), " asked for, but this build has no CUDA; configure with --preset cuda"));
  }
}

}  // namespace

Block::Block(std::size_t bytes, Device device) : bytes_(bytes), device_(device) {
  require_cpu(device);
  if (bytes == 0) return;
  const std::size_t capacity = size_class(bytes);
  data_ = cpu_cache().take(capacity);
  capacity_ = capacity;
}

Block::~Block() {
  if (data_ != nullptr) cpu_cache().give_back(data_, capacity_);
}

Block::Block(Block&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)),
      capacity_(std::exchange(other.capacity_, 0)),
      device_(other.device_) {}

Block& Block::operator=(Block&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  std::swap(capacity_, other.capacity_);
  std::swap(device_, other.device_);
  return *this;
}

MemoryCounters memory_counters(Device device) {
  require_cpu(device);
  return cpu_cache().counters();
}

void reset_peak(Device device) {
  require_cpu(device);
  cpu_cache().reset_peak();
}

void empty_cache(Device device) {
  require_cpu(device);
  cpu_cache().empty();
}

}  // namespace trident
