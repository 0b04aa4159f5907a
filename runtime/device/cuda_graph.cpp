#include "runtime/device/cuda_graph.h"

#include <atomic>
#include <utility>

#include "runtime/device/cuda_device.h"
#include "runtime/device/cuda_driver.h"
#include "runtime/device/launch_only.h"

namespace trident {
namespace {

std::atomic<std::int64_t> launched = 0;

}  // namespace

CudaGraph::CudaGraph(Device device, std::function<void()> work) : device_(device), pool_(device), work_(std::move(work)) {
  require_device("graph", device);
  {
    const UsingPool memory(pool_);
    work_();
  }
  if constexpr (build::kHasCuda) {
    const auto captured = cuda_driver::capture_graph(current_stream(device_).handle(), [this] { run(); });
    graph_ = captured.graph, launches_ = captured.launches;
  }
}

CudaGraph::~CudaGraph() {
  if constexpr (build::kHasCuda) {
    if (graph_ == nullptr) return;
    cuda_driver::settle(current_stream(device_).handle());  // it may be running, and its memory goes next
    cuda_driver::destroy_graph(graph_);
  }
}

void CudaGraph::run() const {
  const UsingPool memory(pool_);
  const LaunchOnly launching;
  work_();
}

void CudaGraph::launch() {
  if constexpr (build::kHasCuda) cuda_driver::launch_graph(graph_, current_stream(device_).handle());
  launched += launches_;
}

std::int64_t launches_in_graphs() { return launched; }

}  // namespace trident
