#include "runtime/device/cuda_driver.h"

#include <atomic>

#include "runtime/device/cuda_check.h"

namespace trident::cuda_driver {
namespace {

cudaStream_t stream_of(void* stream) { return static_cast<cudaStream_t>(stream); }
cudaEvent_t event_of(void* event) { return static_cast<cudaEvent_t>(event); }
cudaGraphExec_t executable(void* graph) { return static_cast<cudaGraphExec_t>(graph); }

struct Counted {
  int devices = 0;
  cudaError_t status = cudaSuccess;
};

const Counted& counted() {
  // Without a GPU or its driver this is an error of CUDA's; of ours it is none: such a machine has 0 devices.
  static const Counted result = [] {
    Counted found;
    found.status = cudaGetDeviceCount(&found.devices);
    if (found.status == cudaSuccess) return found;
    cudaGetLastError();
    found.devices = 0;
    return found;
  }();
  return result;
}

std::atomic<int> first_device = -1;    // that the process has used
thread_local int current_device = -1;  // of this thread

/// Calls that name no device would make a thread that has chosen none take device 0, and memory there.
void use_any_device() {
  if (current_device < 0 && first_device >= 0) use_device(first_device);
}

}  // namespace

int device_count() { return counted().devices; }
std::string problem() { return counted().status == cudaSuccess ? "" : cudaGetErrorString(counted().status); }

bool is_emulated() { return false; }

Properties properties(int device) {
  cudaDeviceProp found{};
  check_cuda("cudaGetDeviceProperties", cudaGetDeviceProperties(&found, device));
  use_device(device);
  Properties result{found.name, found.major, found.minor, found.multiProcessorCount, 0, 0};
  check_cuda("cudaMemGetInfo", cudaMemGetInfo(&result.free_bytes, &result.memory_bytes));
  return result;
}

std::size_t shared_bytes_of_block(int device) {
  int bytes = 0;
  check_cuda("cudaDeviceGetAttribute", cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
  return static_cast<std::size_t>(bytes);
}

void use_device(int device) {
  if (device == current_device) return;
  check_cuda("cudaSetDevice", cudaSetDevice(device));
  current_device = device;
  int none = -1;
  first_device.compare_exchange_strong(none, device);
}

void* allocate(int device, std::size_t bytes) {
  use_device(device);
  void* data = nullptr;
  const cudaError_t status = cudaMalloc(&data, bytes);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // it is reported by the caller, once it has emptied its caches
    return nullptr;
  }
  check_cuda("cudaMalloc", status);
  return data;
}

void release(int device, void* data, std::size_t) {
  if (device != current_device && cudaSetDevice(device) == cudaSuccess) current_device = device;
  if (cudaFree(data) != cudaSuccess) cudaGetLastError();
}

void reuse(void*, std::size_t) {}

void* allocate_pinned(std::size_t bytes) {
  use_any_device();
  void* data = nullptr;
  check_cuda("cudaHostAlloc", cudaHostAlloc(&data, bytes, cudaHostAllocPortable));
  return data;
}

void release_pinned(void* data) { cudaFreeHost(data); }

bool is_pinned(const void* data) {
  use_any_device();
  cudaPointerAttributes attributes{};
  check_cuda("cudaPointerGetAttributes", cudaPointerGetAttributes(&attributes, data));
  return attributes.type == cudaMemoryTypeHost;
}

void* create_stream(int device) {
  use_device(device);
  cudaStream_t stream = nullptr;
  check_cuda("cudaStreamCreateWithFlags", cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  return stream;
}

// A stream or an event may outlive the driver at the end of the process; there is nobody to tell then.
void destroy_stream(void* stream) { cudaStreamDestroy(stream_of(stream)); }
void destroy_event(void* event) { cudaEventDestroy(event_of(event)); }

void synchronize(void* stream) { check_cuda("cudaStreamSynchronize", cudaStreamSynchronize(stream_of(stream))); }
void settle(void* stream) {
  if (cudaStreamSynchronize(stream_of(stream)) != cudaSuccess) cudaGetLastError();
}

void* create_event(int device) {
  use_device(device);
  cudaEvent_t event = nullptr;
  check_cuda("cudaEventCreateWithFlags", cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
  return event;
}

void record_event(void* event, void* stream) { check_cuda("cudaEventRecord", cudaEventRecord(event_of(event), stream_of(stream))); }
void wait_event(void* stream, void* event) {
  check_cuda("cudaStreamWaitEvent", cudaStreamWaitEvent(stream_of(stream), event_of(event), 0));
}
void synchronize_event(void* event) { check_cuda("cudaEventSynchronize", cudaEventSynchronize(event_of(event))); }
bool has_happened(void* event) {
  const cudaError_t status = cudaEventQuery(event_of(event));
  if (status == cudaErrorNotReady) return false;
  check_cuda("cudaEventQuery", status);
  return true;
}

void copy(void* to, const void* from, std::size_t bytes, void* stream) {
  check_cuda("cudaMemcpyAsync", cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream_of(stream)));
}
void set_zero(void* data, std::size_t bytes, void* stream) {
  check_cuda("cudaMemsetAsync", cudaMemsetAsync(data, 0, bytes, stream_of(stream)));
}

void begin_host_access() {}
void end_host_access() {}

CapturedGraph capture_graph(void* stream, const std::function<void()>& work) {
  // Relaxed: other threads go on allocating and copying while this one captures.
  check_cuda("cudaStreamBeginCapture", cudaStreamBeginCapture(stream_of(stream), cudaStreamCaptureModeRelaxed));
  cudaGraph_t graph = nullptr;
  try {
    work();
  } catch (...) {
    if (cudaStreamEndCapture(stream_of(stream), &graph) == cudaSuccess && graph != nullptr) cudaGraphDestroy(graph);
    cudaGetLastError();
    throw;
  }
  check_cuda("cudaStreamEndCapture", cudaStreamEndCapture(stream_of(stream), &graph));
  std::size_t launches = 0;
  cudaGraphExec_t result = nullptr;
  const cudaError_t counted = cudaGraphGetNodes(graph, nullptr, &launches), status = cudaGraphInstantiate(&result, graph, 0);
  cudaGraphDestroy(graph);
  check_cuda("cudaGraphGetNodes", counted);
  check_cuda("cudaGraphInstantiate", status);
  return {result, static_cast<std::int64_t>(launches)};
}

void launch_graph(void* graph, void* stream) { check_cuda("cudaGraphLaunch", cudaGraphLaunch(executable(graph), stream_of(stream))); }

void destroy_graph(void* graph) { cudaGraphExecDestroy(executable(graph)); }

}  // namespace trident::cuda_driver
