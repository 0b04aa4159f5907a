#include "runtime/device/cuda_capture.h"

#include "runtime/device/cuda_check.h"

namespace trident::cuda_driver {
namespace {

cudaStream_t stream_of(void* stream) { return static_cast<cudaStream_t>(stream); }
cudaGraphExec_t executable(void* graph) { return static_cast<cudaGraphExec_t>(graph); }

}  // namespace

void begin_capture(void* stream) {
  // Relaxed: other threads go on allocating and copying while this one captures.
  check_cuda("cudaStreamBeginCapture", cudaStreamBeginCapture(stream_of(stream), cudaStreamCaptureModeRelaxed));
}

void* end_capture(void* stream) {
  cudaGraph_t graph = nullptr;
  check_cuda("cudaStreamEndCapture", cudaStreamEndCapture(stream_of(stream), &graph));
  cudaGraphExec_t result = nullptr;
  const cudaError_t status = cudaGraphInstantiate(&result, graph, 0);
  cudaGraphDestroy(graph);
  check_cuda("cudaGraphInstantiate", status);
  return result;
}

void abandon_capture(void* stream) {
  cudaGraph_t graph = nullptr;
  if (cudaStreamEndCapture(stream_of(stream), &graph) == cudaSuccess && graph != nullptr) cudaGraphDestroy(graph);
  cudaGetLastError();
}

void launch_graph(void* graph, void* stream) { check_cuda("cudaGraphLaunch", cudaGraphLaunch(executable(graph), stream_of(stream))); }

void destroy_graph(void* graph) { cudaGraphExecDestroy(executable(graph)); }

}  // namespace trident::cuda_driver
