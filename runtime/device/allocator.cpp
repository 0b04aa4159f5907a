#include "runtime/device/allocator.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdlib>
#include <map>
#include <mutex>
#include <set>
#include <utility>

#include "runtime/device/block_counters.h"
#include "runtime/device/cuda_device.h"
#include "runtime/device/cuda_driver.h"
#include "runtime/device/host_memory.h"
#include "runtime/error.h"

namespace trident {
namespace {

/// Sanitizers see misuse of a block only if it is really freed, and has no more bytes than were asked for: ours of addresses, and
/// compute-sanitizer on a GPU, for which TRIDENT_MEMORY_CACHE=0 is set.
bool is_caching() {
#ifdef __SANITIZE_ADDRESS__
  return false;
#else
  static const bool wanted = [] {
    const char* text = std::getenv("TRIDENT_MEMORY_CACHE");
    return text == nullptr || std::atoi(text) != 0;
  }();
  return wanted;
#endif
}

/// Rounds up to one of eight sizes per power of two, so that nearly equal requests share blocks and at most 1/8 is wasted.
std::size_t size_class(std::size_t bytes) {
  if (bytes <= 512) return (bytes + kHostAlignment - 1) / kHostAlignment * kHostAlignment;
  const std::size_t step = std::bit_floor(bytes) / 8;
  return (bytes + step - 1) / step * step;
}

void* from_system(Device device, std::size_t capacity) {
  // An address that is no one's: whoever reads what was only counted is stopped at once.
  if (device.counted) return reinterpret_cast<void*>(kHostAlignment);
  if constexpr (build::kHasCuda) {
    if (device.is_gpu()) return cuda_driver::allocate(device.index, capacity);
  }
  return is_caching() ? host_memory(capacity) : whole_host_memory(capacity);
}

void to_system(Device device, void* data, std::size_t capacity) {
  if (device.counted) return;
  if constexpr (build::kHasCuda) {
    if (device.is_gpu()) return cuda_driver::release(device.index, data, capacity);
  }
  is_caching() ? release_host_memory(data, capacity) : release_whole_host_memory(data);
}

/// The blocks of a device that nobody holds, kept apart by pool: one for each stream, or of a graph; null on the CPU.
class Cache {
 public:
  explicit Cache(Device device) : device_(device) {}

  void* take(const void* pool, std::size_t capacity) {
    if (void* cached = cached_block(pool, capacity)) return cached;
    void* data = from_system(device_, capacity);
    if (data == nullptr) {
      empty();
      data = from_system(device_, capacity);
    }
    const std::lock_guard lock(mutex_);
    if (data == nullptr) {
      counters_.in_use_bytes -= static_cast<std::int64_t>(capacity);
      throw DeviceError(concat(to_string(device_), ": cannot allocate ", capacity, " bytes with ", counters_.in_use_bytes,
                               " in use; take a smaller training.global_batch_size or more ranks"));
    }
    counters_.reserved_bytes += static_cast<std::int64_t>(capacity);
    ++counters_.system_allocations;
    return data;
  }

  /// Zeroed memory of a pool for `stream`. Where it has become too small, the old stays: a graph may go on using it.
  void* zeroed(const void* pool, void* stream, std::size_t bytes) {
    constexpr std::size_t kFewest = 64 << 10;
    {
      const std::lock_guard lock(mutex_);
      const std::vector<Zeroed>& own = zeroed_[pool][stream];
      if (!own.empty() && own.back().capacity >= bytes) return own.back().data;
    }
    const std::size_t capacity = std::max(kFewest, std::bit_ceil(bytes));
    void* data = from_system(device_, capacity);
    if (data == nullptr) throw DeviceError(concat(to_string(device_), ": cannot allocate ", capacity, " bytes to count blocks in"));
    if constexpr (build::kHasCuda) cuda_driver::set_zero(data, capacity, stream);
    const std::lock_guard lock(mutex_);
    counters_.reserved_bytes += static_cast<std::int64_t>(capacity);
    ++counters_.system_allocations;
    zeroed_[pool][stream].push_back({data, capacity});
    return data;
  }

  void give_back(const void* pool, void* data, std::size_t capacity) {
    const std::lock_guard lock(mutex_);
    counters_.in_use_bytes -= static_cast<std::int64_t>(capacity);
    if (is_caching() || kept_.contains(pool)) {
      free_[pool][capacity].push_back(data);
    } else {
      counters_.reserved_bytes -= static_cast<std::int64_t>(capacity);
      to_system(device_, data, capacity);
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

  /// From now on empty() spares this pool: a graph goes on writing to blocks that nobody holds.
  void keep(const void* pool) {
    const std::lock_guard lock(mutex_);
    kept_.insert(pool);
  }

  void empty() {
    const std::lock_guard lock(mutex_);
    for (auto& [pool, blocks] : free_) {
      if (!kept_.contains(pool)) empty_pool(blocks);
    }
  }

  void empty(const void* pool) {
    const std::lock_guard lock(mutex_);
    empty_pool(free_[pool]);
    free_.erase(pool);
    kept_.erase(pool);
    for (const auto& [stream, blocks] : zeroed_[pool]) {
      for (const Zeroed& block : blocks) {
        to_system(device_, block.data, block.capacity);
        counters_.reserved_bytes -= static_cast<std::int64_t>(block.capacity);
      }
    }
    zeroed_.erase(pool);
  }

 private:
  using Blocks = std::map<std::size_t, std::vector<void*>>;
  struct Zeroed {
    void* data;
    std::size_t capacity;
  };

  void* cached_block(const void* pool, std::size_t capacity) {
    const std::lock_guard lock(mutex_);
    counters_.in_use_bytes += static_cast<std::int64_t>(capacity);
    counters_.allocated_bytes += static_cast<std::int64_t>(capacity);
    counters_.peak_bytes = std::max(counters_.peak_bytes, counters_.in_use_bytes);
    auto& blocks = free_[pool][capacity];
    if (blocks.empty()) return nullptr;
    void* data = blocks.back();
    blocks.pop_back();
    if constexpr (build::kHasCuda) {
      if (device_.is_gpu()) cuda_driver::reuse(data, capacity);
    }
    return data;
  }

  void empty_pool(Blocks& pool) {
    for (auto& [capacity, blocks] : pool) {
      for (void* data : blocks) to_system(device_, data, capacity);
      counters_.reserved_bytes -= static_cast<std::int64_t>(capacity * blocks.size());
      blocks.clear();
    }
  }

  Device device_;
  std::mutex mutex_;
  std::map<const void*, Blocks> free_;
  std::map<const void*, std::map<const void*, std::vector<Zeroed>>> zeroed_;  // by pool and stream
  std::set<const void*> kept_;
  MemoryCounters counters_;
};

Cache& cache_of(Device device) {
  // Never destroyed: tensors with static storage may outlive every other static object.
  static Cache& cpu = *new Cache({});
  static std::array counted{new Cache({.counted = true}), new Cache({.kind = Device::Kind::cuda, .counted = true})};
  if (device.counted) return *counted[device.kind == Device::Kind::cpu ? 0 : 1];
  if (!device.is_gpu()) return cpu;
  static auto& gpus = *new std::array<std::unique_ptr<Cache>, kMostDevices>;
  static std::array<std::once_flag, kMostDevices> made;
  const auto index = static_cast<std::size_t>(device.index);
  std::call_once(made[index], [&] { gpus[index] = std::make_unique<Cache>(device); });
  return *gpus[index];
}

/// Pinned memory that nobody holds. Asking the system for it, and giving it back, may wait for all GPUs.
class PinnedCache {
 public:
  void* take(std::size_t capacity) {
    {
      const std::lock_guard lock(mutex_);
      std::vector<void*>& blocks = free_[capacity];
      if (!blocks.empty()) {
        void* data = blocks.back();
        blocks.pop_back();
        return data;
      }
    }
    return cuda_driver::allocate_pinned(capacity);
  }

  void give_back(void* data, std::size_t capacity) {
    const std::lock_guard lock(mutex_);
    free_[capacity].push_back(data);
  }

  void empty() {
    const std::lock_guard lock(mutex_);
    for (auto& [capacity, blocks] : free_) std::ranges::for_each(blocks, cuda_driver::release_pinned);
    free_.clear();
  }

 private:
  std::mutex mutex_;
  std::map<std::size_t, std::vector<void*>> free_;
};

PinnedCache& pinned_cache() {
  static PinnedCache& cache = *new PinnedCache;
  return cache;
}

/// The graph's memory that this thread allocates from, by device; null: that of the current stream.
std::array<const void*, kMostDevices>& chosen_pools() {
  static thread_local std::array<const void*, kMostDevices> pools{};
  return pools;
}

const void* current_pool(Device device) {
  const void* chosen = chosen_pools()[static_cast<std::size_t>(device.index)];
  return chosen != nullptr ? chosen : current_stream(device).handle();
}

}  // namespace

Block::Block(std::size_t bytes, Device device) : bytes_(bytes), device_(device) {
  require_device("memory", device);
  if (bytes == 0) return;
  if (device.is_gpu()) pool_ = current_pool(device);
  const std::size_t capacity = is_caching() ? size_class(bytes) : bytes;
  data_ = cache_of(device).take(pool_, capacity);
  capacity_ = capacity;
}

Block::~Block() {
  if (data_ != nullptr) cache_of(device_).give_back(pool_, data_, capacity_);
}

Block::Block(Block&& other) noexcept { *this = std::move(other); }

Block& Block::operator=(Block&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  std::swap(capacity_, other.capacity_);
  std::swap(device_, other.device_);
  std::swap(pool_, other.pool_);
  return *this;
}

MemoryPool::~MemoryPool() { cache_of(device_).empty(this); }

void release_stream_memory(CudaStream& stream) { cache_of(stream.device()).empty(stream.handle()); }

UsingPool::UsingPool(const MemoryPool& pool) : device_(pool.device_) {
  cache_of(device_).keep(&pool);
  before_ = std::exchange(chosen_pools()[static_cast<std::size_t>(device_.index)], &pool);
}

UsingPool::~UsingPool() { chosen_pools()[static_cast<std::size_t>(device_.index)] = before_; }

unsigned* block_counters(Device device, std::size_t count) {
  require_device("memory", device);
  void* stream = current_stream(device).handle();
  return static_cast<unsigned*>(cache_of(device).zeroed(current_pool(device), stream, count * sizeof(unsigned)));
}

MemoryCounters memory_counters(Device device) {
  require_device("memory", device);
  return cache_of(device).counters();
}

void reset_peak(Device device) {
  require_device("memory", device);
  cache_of(device).reset_peak();
}

void empty_cache(Device device) {
  require_device("memory", device);
  cache_of(device).empty();
  if constexpr (build::kHasCuda) {
    if (device.is_gpu()) pinned_cache().empty();
  }
}

std::shared_ptr<void> pinned_memory(std::size_t bytes) {
  if constexpr (build::kHasCuda) {
    if (cuda_device_count() > 0) {
      const std::size_t capacity = size_class(std::max<std::size_t>(bytes, 1));
      return {pinned_cache().take(capacity), [capacity](void* data) { pinned_cache().give_back(data, capacity); }};
    }
  }
  return {std::malloc(std::max<std::size_t>(bytes, 1)), std::free};
}

}  // namespace trident
