#include "rpc/request_queue.h"

#include <algorithm>

#include "rpc/engine.h"

namespace trident {

RequestQueue::RequestQueue(QueueLimits limits) : limits_(limits) {
  if (limits.requests < 1) throw ConfigError(concat("max-queue: ", limits.requests, " requests may wait; at least 1 is needed"));
}

void RequestQueue::push(std::shared_ptr<PendingRequest> request) {
  const std::int64_t bytes = bytes_of(request->prediction);
  const std::lock_guard lock(mutex_);
  if (closed_) throw RequestError(Code::unavailable, "the server is stopping and takes no new requests; send this one to another server");
  const auto count = static_cast<std::int64_t>(waiting_.size());
  if (count >= limits_.requests || (count > 0 && bytes > limits_.bytes - bytes_)) {
    throw RequestError(Code::resource_exhausted,
                       concat("the queue is full: ", count, " requests with ", bytes_, " bytes wait, and at most ", limits_.requests,
                              " with ", limits_.bytes, " bytes may; send this one again later"));
  }
  bytes_ += bytes;
  request->model->statistics->accepted();
  waiting_.push_back(std::move(request));
  changed_.notify_one();
}

std::shared_ptr<PendingRequest> RequestQueue::pop() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return closed_ || !waiting_.empty(); });
  if (waiting_.empty()) return nullptr;
  std::shared_ptr<PendingRequest> request = std::move(waiting_.front());
  waiting_.pop_front();
  took(*request);
  return request;
}

bool RequestQueue::remove(const PendingRequest* request) {
  const std::lock_guard lock(mutex_);
  const auto found = std::ranges::find(waiting_, request, [](const auto& waiting) { return waiting.get(); });
  if (found == waiting_.end()) return false;
  waiting_.erase(found);
  took(*request);
  return true;
}

void RequestQueue::took(const PendingRequest& request) {
  bytes_ -= bytes_of(request.prediction);
  request.model->statistics->dequeued();
}

void RequestQueue::close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
  changed_.notify_all();
}

bool RequestQueue::is_closed() const {
  const std::lock_guard lock(mutex_);
  return closed_;
}

}  // namespace trident
