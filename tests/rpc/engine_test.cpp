#include "rpc/engine.h"

#include <gtest/gtest.h>

#include <cmath>
#include <future>
#include <limits>
#include <new>
#include <optional>
#include <stdexcept>
#include <thread>

#include "runtime/device/allocator.h"
#include "tests/rpc/fake_model.h"

namespace trident {
namespace {

using Clock = PendingRequest::Clock;
using namespace std::chrono_literals;

class TestRequest final : public PendingRequest {
 public:
  void write(const Tensor& output) override { written = to_host<float>(output); }
  void finish(const Outcome& outcome) override { done_.set_value(outcome); }
  Outcome outcome() { return done_.get_future().get(); }

  std::vector<float> written;

 private:
  std::promise<Outcome> done_;
};

std::shared_ptr<TestRequest> request_for(const Engine& engine, std::vector<float> numbers = {1, 2}) {
  auto request = std::make_shared<TestRequest>();
  request->model = &engine.find("double", "");
  request->prediction.input = from_values({1, 2, 1, static_cast<std::int64_t>(numbers.size()) / 2}, numbers);
  return request;
}

/// An engine with one fake model, computing on a thread of its own until the end of the test.
class RunningEngine {
 public:
  explicit RunningEngine(QueueLimits limits = {}, std::function<Tensor(const PredictionRequest&)> predict = nullptr)
      : engine(models(gate, std::move(predict)), limits), thread_([this] { engine.run(); }) {}
  ~RunningEngine() {
    gate->open();
    engine.stop(Clock::time_point::max());
    thread_.join();
  }

  /// A request that the computing thread is busy with until the gate opens.
  std::shared_ptr<TestRequest> occupy() {
    auto request = request_for(engine);
    engine.submit(request);
    gate->wait_for_arrivals(1);
    return request;
  }

  std::shared_ptr<Gate> gate = std::make_shared<Gate>();
  Engine engine;

 private:
  static std::vector<ServedModel> models(std::shared_ptr<Gate> gate, std::function<Tensor(const PredictionRequest&)> predict) {
    std::vector<ServedModel> result{fake_model("double", std::move(gate))};
    if (predict) result[0].predict = std::move(predict);
    return result;
  }
  std::thread thread_;
};

Code code_of(const std::function<void()>& action) {
  try {
    action();
  } catch (...) {
    return outcome_of(std::current_exception()).code;
  }
  return Code::ok;
}

TEST(Engine, ComputesRequestsInTheirOrder) {
  RunningEngine running;
  std::vector<std::shared_ptr<TestRequest>> requests;
  for (float i = 0; i < 5; ++i) {
    requests.push_back(request_for(running.engine, {i, -i}));
    running.engine.submit(requests.back());
  }
  running.gate->open();
  for (float i = 0; i < 5; ++i) {
    TestRequest& request = *requests[static_cast<std::size_t>(i)];
    EXPECT_EQ(request.outcome().code, Code::ok);
    EXPECT_EQ(request.written, (std::vector<float>{2 * i, -2 * i}));
  }
}

TEST(Engine, RefusesWhatDoesNotFitIntoTheQueue) {
  RunningEngine running({.requests = 2, .bytes = 1000});
  const auto computing = running.occupy();
  const auto first = request_for(running.engine), second = request_for(running.engine);
  running.engine.submit(first);
  running.engine.submit(second);
  EXPECT_EQ(code_of([&] { running.engine.submit(request_for(running.engine)); }), Code::resource_exhausted);
  running.engine.cancel(*second);  // frees its place
  EXPECT_EQ(code_of([&] { running.engine.submit(request_for(running.engine)); }), Code::ok);
}

TEST(Engine, BoundsTheBytesThatWaitButAlwaysTakesOne) {
  RunningEngine running({.requests = 10, .bytes = 100});
  const auto computing = running.occupy();
  EXPECT_EQ(code_of([&] { running.engine.submit(request_for(running.engine, std::vector<float>(50))); }), Code::ok);
  EXPECT_EQ(code_of([&] { running.engine.submit(request_for(running.engine)); }), Code::resource_exhausted);
}

TEST(Engine, DoesNotComputeWhatIsOverdueOrCancelled) {
  RunningEngine running;
  const auto computing = running.occupy();
  const auto late = request_for(running.engine), cancelled = request_for(running.engine), expired = request_for(running.engine);
  late->deadline = Clock::now();
  expired->deadline = Clock::now();
  for (const auto& request : {late, cancelled, expired}) running.engine.submit(request);
  running.engine.cancel(*cancelled);
  running.engine.cancel(*expired);                        // as gRPC does when the deadline passes
  EXPECT_EQ(cancelled->outcome().code, Code::cancelled);  // while the computing thread is still busy
  EXPECT_EQ(expired->outcome().code, Code::deadline_exceeded);
  running.gate->open();
  EXPECT_EQ(late->outcome().code, Code::deadline_exceeded);
  EXPECT_EQ(computing->outcome().code, Code::ok);
  EXPECT_EQ(running.gate->arrivals(), 1);
}

TEST(Engine, CancellingWhatIsBeingComputedFinishesItOnce) {
  RunningEngine running;
  const auto computing = running.occupy();
  running.engine.cancel(*computing);
  running.gate->open();
  EXPECT_EQ(computing->outcome().code, Code::ok);  // a second finish() would throw
}

TEST(Engine, InterruptsARollOutBetweenItsSteps) {
  std::atomic<int> begun = 0;
  RunningEngine running({}, [&](const PredictionRequest& request) {
    ++begun;
    for (int step = 0; step < 10'000; ++step) {
      std::this_thread::sleep_for(1ms);
      request.between_steps();
    }
    return request.input;
  });
  const auto cancelled = request_for(running.engine), late = request_for(running.engine), stopped = request_for(running.engine);
  running.engine.submit(cancelled);
  while (begun < 1) std::this_thread::sleep_for(1ms);
  running.engine.cancel(*cancelled);
  EXPECT_EQ(cancelled->outcome().code, Code::cancelled);
  late->deadline = Clock::now() + 500ms;
  running.engine.submit(late);
  EXPECT_EQ(late->outcome().code, Code::deadline_exceeded);
  const int before = begun;
  running.engine.submit(stopped);
  while (begun == before) std::this_thread::sleep_for(1ms);
  running.engine.stop(Clock::now());
  EXPECT_EQ(stopped->outcome().code, Code::unavailable);
  EXPECT_EQ(stopped->model->statistics->snapshot().failures, (std::array<std::uint64_t, 4>{2, 1, 0, 0}));
}

TEST(Engine, ComputesWhatWaitsWhenItIsStopped) {
  RunningEngine running;
  const auto computing = running.occupy();
  const auto waiting = request_for(running.engine);
  running.engine.submit(waiting);
  running.engine.stop(Clock::now() + 1h);
  EXPECT_FALSE(running.engine.is_ready());
  EXPECT_EQ(code_of([&] { running.engine.submit(request_for(running.engine)); }), Code::unavailable);
  running.gate->open();
  EXPECT_EQ(computing->outcome().code, Code::ok);
  EXPECT_EQ(waiting->outcome().code, Code::ok);
}

TEST(Engine, RefusesWhatStillWaitsWhenTheTimeToStopIsOver) {
  RunningEngine running;
  const auto computing = running.occupy();
  const auto waiting = request_for(running.engine);
  running.engine.submit(waiting);
  running.engine.stop(Clock::now());
  running.gate->open();
  EXPECT_EQ(computing->outcome().code, Code::ok);
  EXPECT_EQ(waiting->outcome().code, Code::unavailable);
}

TEST(Engine, GivesEveryFailureItsCode) {
  const std::vector<std::pair<std::function<void()>, Code>> failures = {
      {[] { throw ShapeError("shape"); }, Code::invalid_argument},
      {[] { throw ConfigError("config"); }, Code::invalid_argument},
      {[] { throw DataError("data"); }, Code::invalid_argument},
      {[] { throw DeviceError("memory"); }, Code::resource_exhausted},
      {[] { throw std::bad_alloc(); }, Code::resource_exhausted},
      {[] { throw RequestError(Code::unimplemented, "later"); }, Code::unimplemented},
      {[] { throw CheckpointError("file"); }, Code::internal},
      {[] { throw std::runtime_error("anything"); }, Code::internal},
  };
  std::size_t next = 0;
  RunningEngine running({}, [&](const PredictionRequest& request) {
    failures[next++].first();
    return request.input;
  });
  for (const auto& failure : failures) {
    const auto request = request_for(running.engine);
    running.engine.submit(request);
    EXPECT_EQ(request->outcome().code, failure.second);
  }
}

TEST(Engine, RefusesAReplyThatNoMessageCanCarryBeforeComputingIt) {
  RunningEngine running;
  running.gate->open();
  const auto submit = [&](std::int64_t steps) {
    const auto request = request_for(running.engine);
    request->prediction.steps = steps;
    running.engine.submit(request);
  };
  for (const std::int64_t steps : {std::int64_t{1} << 28, std::int64_t{1} << 61, std::numeric_limits<std::int64_t>::max()}) {
    EXPECT_EQ(code_of([&] { submit(steps); }), Code::invalid_argument);
  }
  EXPECT_EQ(running.gate->arrivals(), 0);
}

TEST(Engine, RefusesABatchBeyondTheModelsLimit) {
  RunningEngine running;
  const auto request = request_for(running.engine);
  const std::int64_t batch = request->model->description.max_batch_size + 1;
  request->prediction.input = zeros({batch, 2, 1, 1}, DType::f32);
  EXPECT_EQ(code_of([&] { running.engine.submit(request); }), Code::invalid_argument);
}

TEST(Engine, FindsModelsByNameAndVersion) {
  RunningEngine running;
  EXPECT_EQ(running.engine.find("double", "1").description.name, "double");
  EXPECT_EQ(code_of([&] { running.engine.find("triple", ""); }), Code::not_found);
  EXPECT_EQ(code_of([&] { running.engine.find("double", "2"); }), Code::not_found);
  EXPECT_EQ(code_of([&] { running.engine.find("double", "99999999999999999999"); }), Code::not_found);
  for (const char* version : {"one", "1.0", " 1", "1 "}) {
    EXPECT_EQ(code_of([&] { running.engine.find("double", version); }), Code::invalid_argument) << version;
  }
}

TEST(Engine, CountsWhatItDid) {
  RunningEngine running;
  const auto computing = running.occupy();
  const auto batch = request_for(running.engine), bad = request_for(running.engine, {1, std::nanf("")}), gone = request_for(running.engine);
  batch->prediction.input = zeros({3, 2, 1, 1}, DType::f32);
  for (const auto& request : {batch, bad, gone}) running.engine.submit(request);
  const Statistics& statistics = *computing->model->statistics;
  EXPECT_EQ(statistics.snapshot().pending, 3);
  running.engine.cancel(*gone);
  EXPECT_EQ(statistics.snapshot().pending, 2);
  running.gate->open();
  for (const auto& request : {computing, batch, bad, gone}) request->outcome();

  const StatisticsSnapshot sums = statistics.snapshot();
  EXPECT_EQ(sums.pending, 0);
  EXPECT_EQ(sums.inference_count, 4);
  EXPECT_EQ(sums.execution_count, 2);
  EXPECT_EQ(sums.success.count, 2);
  EXPECT_EQ(sums.fail.count, 2);
  EXPECT_EQ(sums.failures, (std::array<std::uint64_t, 4>{0, 1, 0, 1}));
  EXPECT_EQ(sums.by_batch_size.size(), 2);
  EXPECT_EQ(sums.by_batch_size.at(3).infer.count, 1);
  EXPECT_GE(sums.success.total, sums.queue.total + sums.compute.infer.total);
  EXPECT_GT(sums.compute.infer.total, 0ns);
  EXPECT_GT(sums.last_inference_ms, 1'600'000'000'000U);
}

TEST(Engine, KeepsTheMemoryOfOneKindOfRequestOnly) {
  RunningEngine running({}, [](const PredictionRequest& request) {
    zeros({request.input.size(3), 1 << 20}, DType::f32);  // 4 MiB for each point
    return request.input;
  });
  std::vector<std::int64_t> reserved_bytes;
  for (const std::size_t points : {8, 8, 1}) {
    const auto request = request_for(running.engine, std::vector<float>(2 * points));
    running.engine.submit(request);
    EXPECT_EQ(request->outcome().code, Code::ok);
    reserved_bytes.push_back(memory_counters(Device{}).reserved_bytes);
  }
  EXPECT_LT(reserved_bytes[1], reserved_bytes[0] + (1 << 20));  // the small inputs come and go
  EXPECT_LT(reserved_bytes[2], std::int64_t{32} << 20);
}

TEST(Engine, NeedsAQueue) { EXPECT_THROW(Engine({}, {.requests = 0}), ConfigError); }

}  // namespace
}  // namespace trident
