/// CUDA devices: which there are, their streams and events, and the order between streams.
#pragma once

#include <cstdint>
#include <string>

#include "runtime/device/device.h"
#include "runtime/device/stream.h"

namespace trident {

/// GPUs that this process sees; 0 where the build or the machine has none.
int cuda_device_count();
/// Behind a message that there are none: why, in CUDA's words, in brackets; empty where it gave no reason.
std::string cuda_problem();
/// Throws DeviceError, beginning with `what`, if the device does not exist here.
void require_device(const char* what, Device device);
struct DeviceProperties {
  std::string name;
  int major = 0, minor = 0;  // compute capability
  int multiprocessors = 0;
  std::int64_t memory_bytes = 0, free_bytes = 0;
};
DeviceProperties device_properties(Device device);

/// Work of a GPU in order. `enqueue` calls the job at once, with this stream as the current one: what the job launches goes here.
/// It lives longer than the blocks that are made while it is current.
class CudaStream final : public Stream {
 public:
  explicit CudaStream(Device device);
  ~CudaStream() override;
  CudaStream(const CudaStream&) = delete;
  CudaStream& operator=(const CudaStream&) = delete;
  void enqueue(std::function<void()> job) override;
  void synchronize() override;  // throws DeviceError inside LaunchOnly

  Device device() const { return device_; }
  void* handle() const { return handle_; }  // cudaStream_t

 private:
  Device device_;
  void* handle_;
};

/// The stream that operations on `device` (a GPU) use on this thread: the device's own, if no CurrentStream says otherwise.
CudaStream& current_stream(Device device);
/// The device's stream for what is brought there while it computes: one for the whole process, as blocks that are made on it may outlive
/// whoever makes them.
CudaStream& upload_stream(Device device);
/// While it lives, operations of this thread on the stream's device go to `stream`.
class CurrentStream {
 public:
  explicit CurrentStream(CudaStream& stream);
  ~CurrentStream();
  CurrentStream(const CurrentStream&) = delete;
  CurrentStream& operator=(const CurrentStream&) = delete;

 private:
  Device device_;
  CudaStream* before_;
};

/// A moment of a stream.
class CudaEvent {
 public:
  explicit CudaEvent(Device device);
  ~CudaEvent();
  CudaEvent(const CudaEvent&) = delete;
  CudaEvent& operator=(const CudaEvent&) = delete;
  void record(CudaStream& stream);
  bool has_happened() const;
  void synchronize() const;  // throws DeviceError inside LaunchOnly
  void* handle() const { return handle_; }

 private:
  Device device_;
  void* handle_;
};

/// While it lives, libraries of the host that know a device's addresses (MPI that is CUDA-aware) may be given them.
class HostAccess {
 public:
  HostAccess();
  ~HostAccess();
  HostAccess(const HostAccess&) = delete;
  HostAccess& operator=(const HostAccess&) = delete;
};

/// The one way to order streams: what is put on `later` from now on starts when everything on `earlier` so far has ended.
void order_after(CudaStream& later, CudaStream& earlier);
/// The same with the moment that the event has recorded.
void order_after(CudaStream& later, const CudaEvent& moment);

}  // namespace trident
