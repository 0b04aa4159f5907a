/// The calls of CUDA's runtime that ours stands on, and no others: cuda_driver.cpp makes them, emulated_driver.cpp plays them for tests
/// where there is no GPU. Not defined where a build has neither (build::kHasCuda). Failures throw DeviceError.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

namespace trident::cuda_driver {

int device_count();
/// Why there is none, in CUDA's words; empty if it counted them.
std::string problem();
bool is_emulated();
struct Properties {
  std::string name;
  int major = 0, minor = 0;  // of the instructions that it has: 9 and 0 on Hopper
  int multiprocessors = 0;
  std::size_t memory_bytes = 0, free_bytes = 0;
};
Properties properties(int device);
/// Shared memory that a block of threads may have.
std::size_t shared_bytes_of_block(int device);
/// What this thread does from now on happens on `device`.
void use_device(int device);

/// Null where there is no room. `device`: of the memory.
void* allocate(int device, std::size_t bytes);
void release(int device, void* data, std::size_t bytes);  // throws nothing
/// Memory that comes out of a cache again: its old contents may not be read.
void reuse(void* data, std::size_t bytes);
/// Host memory that copies reach without staging and without waiting.
void* allocate_pinned(std::size_t bytes);
void release_pinned(void* data);
bool is_pinned(const void* data);

// A stream and an event are void* here: cudaStream_t, cudaEvent_t.
void* create_stream(int device);
void destroy_stream(void* stream);
void synchronize(void* stream);
/// The same for destructors: what went wrong is told by the next call that may throw.
void settle(void* stream);
void* create_event(int device);
void destroy_event(void* event);
void record_event(void* event, void* stream);
void wait_event(void* stream, void* event);
void synchronize_event(void* event);
bool has_happened(void* event);

/// Between host and device, or within one device. Copies to memory of the host that is not pinned have ended when this returns.
void copy(void* to, const void* from, std::size_t bytes, void* stream);
void set_zero(void* data, std::size_t bytes, void* stream);

/// Between the two, libraries of the host that know a device's addresses may be given them. A GPU's driver lets them reach those at any
/// time.
void begin_host_access();
void end_host_access();

struct CapturedGraph {
  void* graph;
  std::int64_t launches;  // of kernels, of libraries' kernels and of copies, that it consists of
};
/// What `work` puts on `stream`, which does not run yet, as one graph. What `work` throws is thrown, and nothing stays captured.
CapturedGraph capture_graph(void* stream, const std::function<void()>& work);
void launch_graph(void* graph, void* stream);
void destroy_graph(void* graph);

}  // namespace trident::cuda_driver
