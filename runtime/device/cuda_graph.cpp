#include "runtime/device/cuda_graph.h"

#include <utility>

#include "runtime/device/cuda_capture.h"
#include "runtime/device/cuda_device.h"
#include "runtime/device/launch_only.h"

namespace trident {

CudaGraph::CudaGraph(Device device, std::function<void()> work) : device_(device), pool_(device), work_(std::move(work)) {
  require_device("graph", device);
  {
    const UsingPool memory(pool_);
    work_();
  }
  if constexpr (build::kHasCuda && !build::kEmulatesCuda) {
    CudaStream& stream = current_stream(device_);
    cuda_driver::begin_capture(stream.handle());
    try {
      run();
    } catch (...) {
      cuda_driver::abandon_capture(stream.handle());
      throw;
    }
    graph_ = cuda_driver::end_capture(stream.handle());
  }
}

CudaGraph::~CudaGraph() {
  if constexpr (build::kHasCuda && !build::kEmulatesCuda) {
    if (graph_ != nullptr) cuda_driver::destroy_graph(graph_);
  }
}

void CudaGraph::run() const {
  const UsingPool memory(pool_);
  const LaunchOnly launching;
  work_();
}

void CudaGraph::launch() {
  if constexpr (build::kEmulatesCuda) {
    run();
  } else if constexpr (build::kHasCuda) {
    cuda_driver::launch_graph(graph_, current_stream(device_).handle());
  }
}

}  // namespace trident
