#include "rpc/statistics.h"

namespace trident {

void ComputeTimes::add(const RequestTimes& times) {
  input.add(times.input);
  infer.add(times.infer);
  output.add(times.output);
}

FailureReason reason_of(Code code) {
  switch (code) {
    case Code::cancelled:
      return FailureReason::cancelled;
    case Code::deadline_exceeded:
    case Code::resource_exhausted:
    case Code::unavailable:
      return FailureReason::rejected;
    case Code::internal:
      return FailureReason::backend;
    default:
      return FailureReason::other;
  }
}

void Statistics::accepted() {
  const std::lock_guard lock(mutex_);
  ++sums_.pending;
}

void Statistics::dequeued() {
  const std::lock_guard lock(mutex_);
  --sums_.pending;
}

void Statistics::succeeded(std::int64_t batch_size, const RequestTimes& times) {
  using std::chrono::milliseconds;
  const auto now = std::chrono::duration_cast<milliseconds>(std::chrono::system_clock::now().time_since_epoch());
  const std::lock_guard lock(mutex_);
  sums_.last_inference_ms = static_cast<std::uint64_t>(now.count());
  sums_.inference_count += static_cast<std::uint64_t>(batch_size);
  ++sums_.execution_count;
  sums_.success.add(times.total);
  sums_.queue.add(times.queue);
  sums_.compute.add(times);
  sums_.by_batch_size[batch_size].add(times);
}

void Statistics::failed(Code code, std::chrono::nanoseconds duration) {
  const std::lock_guard lock(mutex_);
  sums_.fail.add(duration);
  ++sums_.failures[static_cast<std::size_t>(reason_of(code))];
}

StatisticsSnapshot Statistics::snapshot() const {
  const std::lock_guard lock(mutex_);
  return sums_;
}

}  // namespace trident
