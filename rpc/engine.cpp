#include "rpc/engine.h"

#include <algorithm>
#include <charconv>
#include <limits>

#include "runtime/device/allocator.h"

namespace trident {
namespace {

using Clock = PendingRequest::Clock;

// gRPC and Protobuf carry messages below 2 GiB; the reply's fields other than the tensor are short, but the id is the sender's.
constexpr std::int64_t kMaxReplyBytes = std::numeric_limits<std::int32_t>::max() - (std::int64_t{1} << 20);

void check_reply_size(const Shape& shape, DType dtype) {
  const auto most = kMaxReplyBytes / static_cast<std::int64_t>(size_of(dtype));
  if (numel(shape) <= most) return;
  throw RequestError(Code::invalid_argument,
                     concat("output: the reply ", to_string(shape), " in ", name_of(dtype), " has ", numel(shape),
                            " numbers, and a message carries at most ", most, " of them; ask for fewer steps or a smaller batch"));
}

std::int64_t bytes_of(const Tensor& x) { return x.defined() ? x.num_bytes() : 0; }

}  // namespace

std::int64_t bytes_of(const PredictionRequest& request) {
  return bytes_of(request.input) + bytes_of(request.time) + bytes_of(request.pixel_mask);
}

Engine::Engine(std::vector<ServedModel> models, QueueLimits limits) : models_(std::move(models)), queue_(limits) {}

const ServedModel& Engine::find(const std::string& name, const std::string& version) const {
  const auto found = std::ranges::find(models_, name, [](const ServedModel& model) { return model.description.name; });
  if (found == models_.end()) {
    std::string names;
    for (const ServedModel& model : models_) names += (names.empty() ? "" : ", ") + model.description.name;
    throw RequestError(Code::not_found, concat("model \"", name, "\": not served here; there is: ", names));
  }
  if (version.empty() || version == kModelVersion) return *found;
  std::int64_t number = 0;
  const char* const end = version.data() + version.size();
  const auto [stop, error] = std::from_chars(version.data(), end, number);
  if (error == std::errc::invalid_argument || stop != end) {
    throw RequestError(Code::invalid_argument, concat("model_version: \"", version, "\" is not a whole number; leave it empty or send 1"));
  }
  throw RequestError(Code::not_found, concat("model \"", name, "\": has no version ", version, "; it has version ", kModelVersion));
}

void Engine::submit(const std::shared_ptr<PendingRequest>& request) {
  const ServedModel& model = *request->model;
  const PredictionRequest& prediction = request->prediction;
  const Shape answer = model.answer_shape(prediction);
  const std::int64_t batch = prediction.input.size(0);
  if (batch > model.description.max_batch_size) {
    throw RequestError(Code::invalid_argument, concat("input: the batch has ", batch, " samples, and the model \"", model.description.name,
                                                      "\" takes at most ", model.description.max_batch_size));
  }
  check_reply_size(answer, prediction.input.dtype());
  request->accepted = Clock::now();
  queue_.push(request);
}

void Engine::cancel(PendingRequest& request) {
  request.cancelled = true;
  if (!queue_.remove(&request)) return;
  const Outcome outcome = interruption(request);
  request.model->statistics->failed(outcome.code, Clock::now() - request.arrived);
  request.finish(outcome);
}

void Engine::run() {
  while (const std::shared_ptr<PendingRequest> request = queue_.pop()) answer(*request);
}

Outcome Engine::interruption(const PendingRequest& request) const {
  const auto now = Clock::now();
  if (now >= request.deadline) return {Code::deadline_exceeded, "the deadline passed before the answer was complete"};
  if (request.cancelled) return {Code::cancelled, "the client cancelled the request before the answer was complete"};
  if (now < stop_deadline_.load()) return {};
  return {Code::unavailable, "the server stopped before it could complete the answer; send the request to another server"};
}

void Engine::answer(PendingRequest& request) {
  Statistics& statistics = *request.model->statistics;
  const std::int64_t batch = request.prediction.input.size(0);
  const auto started = Clock::now();
  RequestTimes times;
  Outcome outcome = interruption(request);
  if (outcome.code == Code::ok) {
    request.prediction.between_steps = [this, &request] {
      if (const Outcome now = interruption(request); now.code != Code::ok) throw RequestError(now.code, now.message);
    };
    try {
      keep_memory_of(request);
      const Tensor output = request.model->predict(request.prediction);
      const auto computed = Clock::now();
      request.write(output);
      const auto written = Clock::now();
      times = {.total = written - request.arrived,
               .queue = started - request.accepted,
               .input = request.accepted - request.arrived,
               .infer = computed - started,
               .output = written - computed};
    } catch (...) {
      outcome = outcome_of(std::current_exception());
    }
  }
  // Counted first: a client that has its reply finds itself in the statistics.
  if (outcome.code == Code::ok) {
    statistics.succeeded(batch, times);
  } else {
    statistics.failed(outcome.code, Clock::now() - request.arrived);
  }
  request.finish(outcome);
}

/// The allocator keeps freed blocks for the next request, which needs the same ones if it is of the same kind. Others give them back first,
/// so that clients with many shapes do not fill the memory.
void Engine::keep_memory_of(const PendingRequest& request) {
  const PredictionRequest& prediction = request.prediction;
  const Kind kind{request.model, prediction.input.shape(), prediction.input.dtype(), prediction.steps};
  if (kind == last_) return;
  empty_cache(Device{});
  if (request.model->device.kind == Device::Kind::cuda) empty_cache(request.model->device);
  last_ = kind;
}

void Engine::stop(Clock::time_point deadline) {
  stop_deadline_ = deadline;
  queue_.close();
}

}  // namespace trident
