/// The engine: computes requests one after another. It knows nothing of gRPC.
///
/// The thread that calls run() computes, and only it: libgomp keeps a pool of threads for every thread that opens a parallel region.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "rpc/request_queue.h"
#include "rpc/served_model.h"

namespace trident {

/// Models have one version.
inline const std::string kModelVersion = "1";

/// One request on its way through the engine; whoever carries the answer away implements it.
class PendingRequest {
 public:
  using Clock = std::chrono::steady_clock;
  virtual ~PendingRequest() = default;

  /// Writes the reply of a computed request. On the computing thread.
  virtual void write(const Tensor& output) = 0;
  /// The last call, once for a request that the engine accepted, on any thread.
  virtual void finish(const Outcome& outcome) = 0;

  const ServedModel* model = nullptr;
  PredictionRequest prediction;  // may view memory that lives until finish()
  Clock::time_point arrived = Clock::now();
  Clock::time_point accepted = {};  // into the queue, after it was read and checked
  Clock::time_point deadline = Clock::time_point::max();
  std::atomic<bool> cancelled = false;  // set by Engine::cancel()
};

/// Bytes of its tensors.
std::int64_t bytes_of(const PredictionRequest& request);

class Engine {
 public:
  Engine(std::vector<ServedModel> models, QueueLimits limits);

  /// Throws RequestError: not_found, or invalid_argument for a version that is not a number.
  const ServedModel& find(const std::string& name, const std::string& version) const;
  const std::vector<ServedModel>& models() const { return models_; }
  /// Whether requests are accepted.
  bool is_ready() const { return !queue_.is_closed(); }

  /// Checks the request against its model and puts it into the queue. Throws Error, and then finish() is not called; the caller counts it.
  void submit(const std::shared_ptr<PendingRequest>& request);
  /// The sender is gone or its time is over: a waiting request is finished at once, and its place is free; a roll-out that is being
  /// computed ends with its current step.
  void cancel(PendingRequest& request);

  /// Computes until stop(), and then what is still waiting.
  void run();
  /// No new requests; what waits or rolls out at `deadline` ends as unavailable. run() returns when nothing waits.
  void stop(PendingRequest::Clock::time_point deadline);

 private:
  /// Requests of one kind need blocks of the same sizes.
  struct Kind {
    const ServedModel* model = nullptr;
    Shape input;
    DType dtype = DType::f32;
    std::optional<std::int64_t> steps;
    bool operator==(const Kind&) const = default;
  };

  /// Why a request is not to be computed any further, or ok.
  Outcome interruption(const PendingRequest& request) const;
  void answer(PendingRequest& request);
  void keep_memory_of(const PendingRequest& request);

  std::vector<ServedModel> models_;
  RequestQueue queue_;
  Kind last_;  // of the computing thread: what the memory that the allocator keeps is good for
  std::atomic<PendingRequest::Clock::time_point> stop_deadline_ = PendingRequest::Clock::time_point::max();
};

}  // namespace trident
