/// Requests that wait for the computing thread: first in, first out, bounded in number and bytes.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>

namespace trident {

class PendingRequest;  // rpc/engine.h

struct QueueLimits {
  std::int64_t requests = 64;
  std::int64_t bytes = std::int64_t{4} << 30;  // of tensors; one request always fits: messages are below 2 GiB
};

/// Thread-safe. Who takes a request out, by pop() or remove(), answers it.
class RequestQueue {
 public:
  explicit RequestQueue(QueueLimits limits);

  /// Throws RequestError: resource_exhausted if the queue is full, unavailable if it is closed.
  void push(std::shared_ptr<PendingRequest> request);
  /// The oldest request; waits for one. Null when the queue is closed and empty.
  std::shared_ptr<PendingRequest> pop();
  /// Whether the request was still here, and is no longer.
  bool remove(const PendingRequest* request);
  /// No more requests from now on.
  void close();
  bool is_closed() const;

 private:
  void took(const PendingRequest& request);

  const QueueLimits limits_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<PendingRequest>> waiting_;
  std::int64_t bytes_ = 0;
  bool closed_ = false;
};

}  // namespace trident
