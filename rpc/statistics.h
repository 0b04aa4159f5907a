/// What one served model has done since the start, for ModelStatistics and the metrics.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <string_view>

#include "rpc/request_error.h"

namespace trident {

struct DurationSum {
  std::uint64_t count = 0;
  std::chrono::nanoseconds total{0};

  void add(std::chrono::nanoseconds duration) {
    ++count;
    total += duration;
  }
};

/// Where the time of one computed request went.
struct RequestTimes {
  std::chrono::nanoseconds total{0};   // from its arrival to its written reply
  std::chrono::nanoseconds queue{0};   // waiting for the computing thread
  std::chrono::nanoseconds input{0};   // reading and checking it
  std::chrono::nanoseconds infer{0};   // the prediction
  std::chrono::nanoseconds output{0};  // writing the reply
};

struct ComputeTimes {
  DurationSum input, infer, output;
  void add(const RequestTimes& times);
};

/// Why requests failed, in the words of Triton's metrics.
enum class FailureReason { rejected, cancelled, backend, other };
inline constexpr std::array<std::string_view, 4> kFailureReasons = {"REJECTED", "CANCELED", "BACKEND", "OTHER"};
FailureReason reason_of(Code code);

struct StatisticsSnapshot {
  std::uint64_t last_inference_ms = 0;  // since 1970
  std::uint64_t inference_count = 0;    // samples of the computed requests
  std::uint64_t execution_count = 0;    // computed requests
  DurationSum success, fail, queue;
  ComputeTimes compute;
  std::map<std::int64_t, ComputeTimes> by_batch_size;
  std::array<std::uint64_t, kFailureReasons.size()> failures{};  // by FailureReason
  std::int64_t pending = 0;                                      // accepted, and not yet being computed
};

/// Thread-safe.
class Statistics {
 public:
  void accepted();
  /// A request has left the queue, to be computed or to be refused.
  void dequeued();
  void succeeded(std::int64_t batch_size, const RequestTimes& times);
  void failed(Code code, std::chrono::nanoseconds duration);
  StatisticsSnapshot snapshot() const;

 private:
  mutable std::mutex mutex_;
  StatisticsSnapshot sums_;
};

}  // namespace trident
