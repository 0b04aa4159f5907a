#include "parallel/device_streams.h"

#include <memory>
#include <utility>

namespace trident {

void WaitingStream::enqueue(std::function<void()> job) {
  const auto produced = std::make_shared<CudaEvent>(device_);
  produced->record(current_stream(device_));
  worker_.enqueue([this, produced, job = std::move(job)] {
    produced->synchronize();
    const CurrentStream here(own_);
    job();
  });
}

void LaunchedStream::enqueue(std::function<void()> job) {
  order_after(own_, current_stream(device_));
  const CurrentStream here(own_);
  job();
  held_.push_back(std::move(job));
}

void LaunchedStream::synchronize() {
  if (held_.empty()) return;  // a stream without work of a capture may not be waited for in it
  order_after(current_stream(device_), own_);
  held_.clear();
}

}  // namespace trident
