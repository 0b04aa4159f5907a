/// Numbers on their way to the host, while the device goes on.
#pragma once

#include <memory>

#include "runtime/device/cuda_device.h"
#include "runtime/tensor/tensor.h"

namespace trident {

/// Starts copying when it is made, behind what the tensor's current stream has to do. Of a host tensor it is the tensor itself.
class HostCopy {
 public:
  explicit HostCopy(const Tensor& x);
  /// The numbers on the host; waits for them, not for what came after.
  const Tensor& wait() const;

 private:
  Tensor host_;
  std::shared_ptr<CudaEvent> arrived_;  // null for host tensors
};

}  // namespace trident
