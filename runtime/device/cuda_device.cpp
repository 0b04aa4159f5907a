#include "runtime/device/cuda_device.h"

#include <algorithm>
#include <array>
#include <memory>
#include <mutex>
#include <vector>

#include "runtime/activity.h"
#include "runtime/device/allocator.h"
#include "runtime/device/cuda_driver.h"
#include "runtime/device/launch_only.h"
#include "runtime/error.h"

namespace trident {
namespace {

std::size_t index_of(Device device) { return static_cast<std::size_t>(device.index); }

/// This thread's current streams, null for the device's own.
std::array<CudaStream*, kMostDevices>& chosen_streams() {
  static thread_local std::array<CudaStream*, kMostDevices> streams{};
  return streams;
}

/// A stream of each device, made when it is first asked for.
class LastingStreams {
 public:
  CudaStream& of(Device device) {
    std::call_once(made_[index_of(device)], [&] { streams_[index_of(device)] = std::make_unique<CudaStream>(device); });
    return *streams_[index_of(device)];
  }

 private:
  std::array<std::unique_ptr<CudaStream>, kMostDevices> streams_;
  std::array<std::once_flag, kMostDevices> made_;
};

CudaStream& own_stream(Device device) {
  static LastingStreams& streams = *new LastingStreams;  // never destroyed: tensors with static storage give their memory back to them
  return streams.of(device);
}

void use([[maybe_unused]] Device device) {
  if constexpr (build::kHasCuda) cuda_driver::use_device(device.index);
}

}  // namespace

int cuda_device_count() {
  if constexpr (build::kHasCuda) {
    return std::min(cuda_driver::device_count(), kMostDevices);
  } else {
    return 0;
  }
}

std::string cuda_problem() {
  if constexpr (build::kHasCuda) {
    if (const std::string problem = cuda_driver::problem(); !problem.empty()) return concat(" (CUDA: ", problem, ")");
  }
  return "";
}

void require_device(const char* what, Device device) {
  if (!device.is_gpu() || (device.index >= 0 && device.index < cuda_device_count())) return;
  bool for_gpus = false;
  if constexpr (build::kHasCuda) for_gpus = !cuda_driver::is_emulated();
  throw DeviceError(concat(what, ": ", to_string(device), " asked for, but ",
                           for_gpus
                               ? concat("this machine has ", cuda_device_count(), " CUDA devices that this process may use", cuda_problem())
                               : "this build has no CUDA; configure with --preset cuda"));
}

DeviceProperties device_properties(Device device) {
  require_device("properties", device);
  if constexpr (build::kHasCuda) {
    if (device.kind == Device::Kind::cuda) {
      const auto found = cuda_driver::properties(device.index);
      return {found.name,
              found.major,
              found.minor,
              found.multiprocessors,
              static_cast<std::int64_t>(found.memory_bytes),
              static_cast<std::int64_t>(found.free_bytes)};
    }
  }
  throw DeviceError("properties: asked for a CPU's; they are of CUDA devices");
}

CudaStream::CudaStream(Device device) : device_(device), handle_(nullptr) {
  require_device("stream", device);
  if constexpr (build::kHasCuda) handle_ = cuda_driver::create_stream(device.index);
}

CudaStream::~CudaStream() {
  if constexpr (build::kHasCuda) {
    cuda_driver::settle(handle_);
    release_stream_memory(*this);
    cuda_driver::destroy_stream(handle_);
  }
}

void CudaStream::enqueue(std::function<void()> job) {
  const CurrentStream here(*this);
  job();
}

void CudaStream::synchronize() {
  require_waiting_allowed("synchronize");
  const Activity waiting("waiting for the GPU", TraceEvent::Kind::blocked);
  use(device_);
  if constexpr (build::kHasCuda) cuda_driver::synchronize(handle_);
}

CudaStream& current_stream(Device device) {
  CudaStream* chosen = chosen_streams()[index_of(device)];
  CudaStream& stream = chosen != nullptr ? *chosen : own_stream(device);
  use(device);
  return stream;
}

CudaStream& upload_stream(Device device) {
  static LastingStreams& streams = *new LastingStreams;
  return streams.of(device);
}

CurrentStream::CurrentStream(CudaStream& stream) : device_(stream.device()), before_(chosen_streams()[index_of(device_)]) {
  chosen_streams()[index_of(device_)] = &stream;
}

CurrentStream::~CurrentStream() { chosen_streams()[index_of(device_)] = before_; }

CudaEvent::CudaEvent(Device device) : device_(device), handle_(nullptr) {
  require_device("event", device);
  if constexpr (build::kHasCuda) handle_ = cuda_driver::create_event(device.index);
}

CudaEvent::~CudaEvent() {
  if constexpr (build::kHasCuda) cuda_driver::destroy_event(handle_);
}

void CudaEvent::record(CudaStream& stream) {
  use(device_);
  if constexpr (build::kHasCuda) cuda_driver::record_event(handle_, stream.handle());
}

bool CudaEvent::has_happened() const {
  use(device_);
  if constexpr (build::kHasCuda) return cuda_driver::has_happened(handle_);
  return true;
}

void CudaEvent::synchronize() const {
  require_waiting_allowed("synchronize");
  use(device_);
  if constexpr (build::kHasCuda) cuda_driver::synchronize_event(handle_);
}

HostAccess::HostAccess() {
  if constexpr (build::kHasCuda) cuda_driver::begin_host_access();
}

HostAccess::~HostAccess() {
  if constexpr (build::kHasCuda) cuda_driver::end_host_access();
}

void order_after(CudaStream& later, CudaStream& earlier) {
  if (&later == &earlier) return;
  CudaEvent moment(earlier.device());
  moment.record(earlier);
  if constexpr (build::kHasCuda) cuda_driver::wait_event(later.handle(), moment.handle());
}

void order_after(CudaStream& later, const CudaEvent& moment) {
  if constexpr (build::kHasCuda) cuda_driver::wait_event(later.handle(), moment.handle());
}

}  // namespace trident
