/// Streams of communication between GPUs: they follow the computing stream of whoever puts work on them.
#pragma once

#include "runtime/device/cuda_device.h"
#include "runtime/device/stream.h"

namespace trident {

/// For tensors that travel by MPI: a worker runs the jobs, each once what its sender had put on the device is done. Jobs leave nothing
/// under way on the device.
class WaitingStream final : public Stream {
 public:
  explicit WaitingStream(Device device) : device_(device), own_(device) {}
  void enqueue(std::function<void()> job) override;
  void synchronize() override { worker_.synchronize(); }

 private:
  Device device_;
  CudaStream own_;  // what jobs put on the device
  WorkerStream worker_;
};

/// For jobs that only launch: they run at once and leave their work on a stream of the device. synchronize() orders the caller's current
/// stream behind it, and waits for nothing.
class LaunchedStream final : public Stream {
 public:
  explicit LaunchedStream(Device device) : device_(device), own_(device) {}
  void enqueue(std::function<void()> job) override;
  void synchronize() override;

 private:
  Device device_;
  CudaStream own_;
  std::vector<std::function<void()>> held_;  // jobs own their tensors, which must not be used again before the device is done with them
};

}  // namespace trident
