/// Numbers that the host sends to a device again and again, to the same place there.
#pragma once

#include <array>
#include <memory>
#include <span>

#include "runtime/device/cuda_device.h"
#include "runtime/tensor/tensor.h"

namespace trident {

class SentNumbers {
 public:
  SentNumbers() = default;
  SentNumbers(const Shape& shape, DType dtype, Device device);

  /// Where they lie; on the host it is the memory that send() writes.
  const Tensor& tensor() const { return tensor_; }
  /// Behind what the device's current stream has to do; waits at most for the numbers before the last. As many bytes as the tensor has.
  void send(std::span<const std::byte> numbers);

 private:
  /// Pinned memory, from which a GPU fetches by itself.
  struct Sending {
    Tensor numbers;
    std::shared_ptr<CudaEvent> fetched;
  };

  Tensor tensor_;
  std::array<Sending, 2> sendings_;  // one may be under way while the next is written
  std::size_t next_ = 0;
};

}  // namespace trident
