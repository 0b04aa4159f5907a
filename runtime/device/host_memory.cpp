#include "runtime/device/host_memory.h"

#include <sys/mman.h>

#include <cstdlib>
#include <iterator>
#include <map>
#include <mutex>

namespace trident {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;  // bytes
constexpr std::size_t kChunk = 4 * kHugePage;            // that small blocks are cut from; what they do not touch takes no memory

std::size_t rounded_up(std::size_t bytes, std::size_t step) { return (bytes + step - 1) / step * step; }

/// Cuts blocks from the newest chunk, one behind the other.
class Chunks {
 public:
  void* take(std::size_t bytes) {
    const std::size_t size = rounded_up(bytes, kHostAlignment);
    const std::lock_guard lock(mutex_);
    if (left_ < size) {
      auto* data = static_cast<std::byte*>(whole_host_memory(kChunk));
      if (data == nullptr) return nullptr;
      newest_ = blocks_in_.emplace(data, 0).first;
      left_ = kChunk;
    }
    void* data = newest_->first + (kChunk - left_);
    left_ -= size;
    ++newest_->second;
    return data;
  }

  void give_back(void* data) {
    const std::lock_guard lock(mutex_);
    const auto chunk = std::prev(blocks_in_.upper_bound(static_cast<std::byte*>(data)));
    if (--chunk->second > 0) return;
    if (chunk == newest_) left_ = 0;
    release_whole_host_memory(chunk->first);
    blocks_in_.erase(chunk);
  }

 private:
  using BlocksIn = std::map<std::byte*, std::size_t>;

  std::mutex mutex_;
  BlocksIn blocks_in_;           // by the chunk's first byte
  BlocksIn::iterator newest_{};  // which has `left_` bytes that were not cut off
  std::size_t left_ = 0;
};

Chunks& chunks() {
  static Chunks& chunks = *new Chunks;  // never destroyed, as the allocator's caches
  return chunks;
}

}  // namespace

void* whole_host_memory(std::size_t bytes) {
  const std::size_t alignment = bytes >= kHugePage ? kHugePage : kHostAlignment;
  void* data = std::aligned_alloc(alignment, rounded_up(bytes, alignment));
  if (data != nullptr && alignment == kHugePage) madvise(data, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
  return data;
}

void release_whole_host_memory(void* data) { std::free(data); }

void* host_memory(std::size_t bytes) { return bytes < kHugePage ? chunks().take(bytes) : whole_host_memory(bytes); }

void release_host_memory(void* data, std::size_t bytes) {
  if (bytes >= kHugePage) return release_whole_host_memory(data);
  chunks().give_back(data);
}

}  // namespace trident
