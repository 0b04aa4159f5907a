#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

#include "runtime/device/cuda_driver.h"
#include "runtime/device/emulated_memory.h"

// The emulated device: work happens at once, in the order in which it is put on any stream. TRIDENT_EMULATED_CUDA in the environment says
// how many of them there are; without it there is none, so that programs behave as where there is no GPU.
namespace trident::cuda_driver {
namespace {

class PinnedMemory {
 public:
  void* allocate(std::size_t bytes) {
    void* data = std::malloc(bytes == 0 ? 1 : bytes);
    const std::lock_guard lock(mutex_);
    starts_[data] = bytes;
    return data;
  }
  void release(void* data) {
    const std::lock_guard lock(mutex_);
    starts_.erase(data);
    std::free(data);
  }
  bool contains(const void* data) {
    const std::lock_guard lock(mutex_);
    auto after = starts_.upper_bound(const_cast<void*>(data));
    if (after == starts_.begin()) return false;
    const auto& [start, bytes] = *--after;
    return data < static_cast<std::byte*>(start) + bytes;
  }

 private:
  std::mutex mutex_;
  std::map<void*, std::size_t> starts_;
};

PinnedMemory& pinned_memory() {
  static PinnedMemory& memory = *new PinnedMemory;  // never destroyed: tensors with static storage may outlive every other static object
  return memory;
}

}  // namespace

int device_count() {
  static const int count = [] {
    const char* wanted = std::getenv("TRIDENT_EMULATED_CUDA");
    return wanted == nullptr ? 0 : std::atoi(wanted);
  }();
  return count;
}

std::string problem() { return ""; }
bool is_emulated() { return true; }

Properties properties(int) { return {"emulated device", 9, 0, 1, emulation::kDeviceBytes, emulation::kDeviceBytes}; }
void use_device(int) {}

void* allocate(int, std::size_t bytes) { return emulation::allocate(bytes); }
void release(int, void* data, std::size_t bytes) { emulation::release(data, bytes); }
void reuse(void* data, std::size_t bytes) { emulation::forget(data, bytes); }
void* allocate_pinned(std::size_t bytes) { return pinned_memory().allocate(bytes); }
void release_pinned(void* data) { pinned_memory().release(data); }
bool is_pinned(const void* data) { return pinned_memory().contains(data); }

// Streams and events are told apart by their addresses alone.
void* create_stream(int) { return new char; }
void destroy_stream(void* stream) { delete static_cast<char*>(stream); }
void synchronize(void*) {}
void* create_event(int) { return new char; }
void destroy_event(void* event) { delete static_cast<char*>(event); }
void record_event(void*, void*) {}
void wait_event(void*, void*) {}
void synchronize_event(void*) {}
bool has_happened(void*) { return true; }

void copy(void* to, const void* from, std::size_t bytes, void*) {
  const emulation::OpenMemory open;
  std::memmove(to, from, bytes);
}
void set_zero(void* data, std::size_t bytes, void*) {
  const emulation::OpenMemory open;
  std::memset(data, 0, bytes);
}

void begin_host_access() { emulation::open(); }
void end_host_access() { emulation::close(); }

// A graph is the work itself, which each launch runs.
void* capture_graph(void*, const std::function<void()>& work) { return new std::function<void()>(work); }
void launch_graph(void* graph, void*) { (*static_cast<std::function<void()>*>(graph))(); }
void destroy_graph(void* graph) { delete static_cast<std::function<void()>*>(graph); }

}  // namespace trident::cuda_driver
