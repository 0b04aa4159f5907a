#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "runtime/device/cuda_driver.h"
#include "runtime/device/emulated_memory.h"
#include "runtime/device/emulated_streams.h"
#include "runtime/error.h"

// The emulated device. TRIDENT_EMULATED_CUDA in the environment says how many of them there are; without it there is none, so that programs
// behave as where there is no GPU.
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

Properties properties(int device) {
  use_device(device);
  return {"emulated device", 9, 0, 1, emulation::kDeviceBytes, emulation::kDeviceBytes};
}
std::size_t shared_bytes_of_block(int) {
  static const std::size_t kibibytes = [] {
    const char* wanted = std::getenv("TRIDENT_EMULATED_SHARED_KIB");
    return wanted == nullptr ? std::size_t{227} : static_cast<std::size_t>(std::atoll(wanted));  // of an H100
  }();
  return kibibytes << 10;
}
void use_device(int device) { emulation::choose_device(device); }

void* allocate(int device, std::size_t bytes) {
  use_device(device);
  return emulation::allocate(bytes);
}
void release(int device, void* data, std::size_t bytes) {
  use_device(device);
  emulation::release(data, bytes);
}
void reuse(void* data, std::size_t bytes) { emulation::submit_reuse(data, bytes); }
void* allocate_pinned(std::size_t bytes) { return pinned_memory().allocate(bytes); }
void release_pinned(void* data) { pinned_memory().release(data); }
bool is_pinned(const void* data) { return pinned_memory().contains(data); }

void* create_stream(int device) { return emulation::create_stream(device); }
void destroy_stream(void* stream) { emulation::destroy_stream(stream); }
void synchronize(void* stream) { emulation::synchronize(stream); }
void settle(void*) {}
void* create_event(int device) { return emulation::create_event(device); }
void destroy_event(void* event) { emulation::destroy_event(event); }
void record_event(void* event, void* stream) { emulation::record(event, stream); }
void wait_event(void* stream, void* event) { emulation::wait(stream, event); }
void synchronize_event(void* event) { emulation::ask(event); }
bool has_happened(void* event) {
  emulation::ask(event);
  return true;
}

void copy(void* to, const void* from, std::size_t bytes, void* stream) {
  for (const void* place : {static_cast<const void*>(to), from}) {
    if (!emulation::is_captured(stream) || emulation::is_device_address(place) || is_pinned(place)) continue;
    throw DeviceError("copy: to or from memory of the host that is not pinned, in a capture");
  }
  emulation::submit(stream, concat("copy of ", bytes, " bytes"), [=] {
    const emulation::OpenMemory open;
    std::memmove(to, from, bytes);
  });
}
void set_zero(void* data, std::size_t bytes, void* stream) {
  emulation::submit(stream, concat("zeros of ", bytes, " bytes"), [=] {
    const emulation::OpenMemory open;
    std::memset(data, 0, bytes);
  });
}

void begin_host_access() { emulation::open(); }
void end_host_access() { emulation::close(); }

using Graph = std::vector<emulation::Piece>;
CapturedGraph capture_graph(void* stream, const std::function<void()>& work) {
  auto graph = std::make_unique<Graph>(emulation::capture(stream, work));
  std::ofstream list;
  if (const char* file = std::getenv("TRIDENT_EMULATED_LAUNCHES"); file != nullptr) list.open(file, std::ios::app);
  std::int64_t launches = 0;
  for (const emulation::Piece& piece : *graph) {
    if (piece.launch.empty()) continue;
    ++launches;
    list << piece.launch << '\n';
  }
  list << "graph of " << launches << " launches\n";
  return {graph.release(), launches};
}
void launch_graph(void* graph, void* stream) {
  emulation::submit(stream, "graph", [&pieces = *static_cast<const Graph*>(graph)] {
    for (const emulation::Piece& piece : pieces) piece.work();
  });
}
void destroy_graph(void* graph) { delete static_cast<Graph*>(graph); }

}  // namespace trident::cuda_driver
