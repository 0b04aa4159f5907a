#include "runtime/tensor/sent_numbers.h"

#include <cstring>

#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"

namespace trident {

SentNumbers::SentNumbers(const Shape& shape, DType dtype, Device device) : tensor_(empty(shape, dtype, device)) {}

void SentNumbers::send(std::span<const std::byte> numbers) {
  if (tensor_.device().counted) return;
  if (!tensor_.is_cuda()) {
    std::memcpy(tensor_.bytes(), numbers.data(), numbers.size());
    return;
  }
  if constexpr (build::kHasCuda) {
    Sending& sending = sendings_[next_++ % sendings_.size()];
    if (sending.fetched) {
      sending.fetched->synchronize();
    } else {
      sending.numbers = empty_pinned(tensor_.shape(), tensor_.dtype());
      sending.fetched = std::make_shared<CudaEvent>(tensor_.device());
    }
    std::memcpy(sending.numbers.bytes(), numbers.data(), numbers.size());
    copy_into(tensor_, sending.numbers);
    sending.fetched->record(current_stream(tensor_.device()));
  }
}

}  // namespace trident
