/// Work on a GPU that is captured once and launched as one again and again.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "runtime/device/allocator.h"

namespace trident {

/// `work` only launches, on the current stream of the device, and on memory that stays where it is: what it allocates belongs to the graph.
/// It runs once to fill that memory (and for plans that are made at first use), and then again to be captured: the host's part of it
/// runs, the device's does not. What it did the first time is the caller's first launch, if it left its results where both times do; memory
/// that `work` returns is that of the capture, and holds nothing before launch().
class CudaGraph {
 public:
  CudaGraph(Device device, std::function<void()> work);
  ~CudaGraph();
  CudaGraph(const CudaGraph&) = delete;
  CudaGraph& operator=(const CudaGraph&) = delete;
  /// Puts everything on the device's current stream, in the order of the capture.
  void launch();

 private:
  void run() const;

  Device device_;
  MemoryPool pool_;
  std::function<void()> work_;
  void* graph_ = nullptr;      // cudaGraphExec_t
  std::int64_t launches_ = 0;  // of kernels and copies, that it consists of
};

/// Kernels and copies that this process has launched in graphs.
std::int64_t launches_in_graphs();

}  // namespace trident
