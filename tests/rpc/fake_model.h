/// A served model without a network, for tests of the service: it doubles its input, which must be finite, and waits
/// where a test tells it to.
#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "rpc/served_model.h"
#include "runtime/ops/reduce.h"
#include "runtime/tensor/create.h"

namespace trident {

/// Holds the computing thread inside the model until it is opened.
class Gate {
 public:
  void open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  /// Waits until `count` predictions have reached the gate.
  void wait_for_arrivals(int count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return arrivals_ >= count; });
  }
  int arrivals() {
    const std::lock_guard lock(mutex_);
    return arrivals_;
  }
  void pass() {
    std::unique_lock lock(mutex_);
    ++arrivals_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return open_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
  int arrivals_ = 0;
};

inline Shape fake_answer_shape(const PredictionRequest& request) {
  const Shape& input = request.input.shape();
  if (input.rank() != 4 || input[1] != 2) {
    throw ShapeError(concat("input: shape ", to_string(input), "; the model takes (batch, 2, y, x)"));
  }
  if (!request.steps) return input;
  return {input[0], *request.steps, input[1], input[2], input[3]};
}

/// 2 * input, as often as there are steps, each of which takes `step_time`.
template <class T>
Tensor doubled(const PredictionRequest& request, std::chrono::milliseconds step_time) {
  for (std::int64_t step = 1; step < request.steps.value_or(1); ++step) {
    std::this_thread::sleep_for(step_time);
    if (request.between_steps) request.between_steps();
  }
  const std::vector<T> input = to_host<T>(request.input);
  std::vector<T> output;
  const std::size_t sample = input.size() / static_cast<std::size_t>(request.input.size(0));
  for (std::size_t begin = 0; begin < input.size(); begin += sample) {
    for (std::int64_t step = 0; step < request.steps.value_or(1); ++step) {
      for (std::size_t i = begin; i < begin + sample; ++i) output.push_back(2 * input[i]);
    }
  }
  return from_values(fake_answer_shape(request), output);
}

/// Two channels. Every prediction passes `gate`, if there is one.
inline ServedModel fake_model(const std::string& name, std::shared_ptr<Gate> gate = nullptr, std::chrono::milliseconds step_time = {}) {
  ServedModel model;
  model.description = {.name = name, .num_channels = 2, .num_out_channels = 2, .uses_time = true};
  model.answer_shape = fake_answer_shape;
  model.predict = [gate, step_time](const PredictionRequest& request) {
    if (gate) gate->pass();
    if (!all_finite(request.input)) throw DataError("input: holds numbers that are not finite");
    return request.input.dtype() == DType::f64 ? doubled<double>(request, step_time) : doubled<float>(request, step_time);
  };
  return model;
}

}  // namespace trident
