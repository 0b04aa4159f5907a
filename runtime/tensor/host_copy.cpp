#include "runtime/tensor/host_copy.h"

#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"

namespace trident {

HostCopy::HostCopy(const Tensor& x) : host_(x.detached()) {
  if constexpr (build::kHasCuda) {
    if (!x.device().is_gpu()) return;
    host_ = empty_pinned(x.shape(), x.dtype());
    copy_into(host_, x);
    arrived_ = std::make_shared<CudaEvent>(x.device());
    arrived_->record(current_stream(x.device()));
  }
}

const Tensor& HostCopy::wait() const {
  if constexpr (build::kHasCuda) {
    if (arrived_) arrived_->synchronize();
  }
  return host_;
}

}  // namespace trident
