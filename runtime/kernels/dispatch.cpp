#include "runtime/kernels/dispatch.h"

#include "runtime/device/cuda_device.h"

namespace trident {

Cuda current_cuda(const char* op, Device device) {
  require_device(op, device);
  return {current_stream(device).handle(), device.index};
}

}  // namespace trident
