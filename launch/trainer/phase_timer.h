/// Where the time of a step goes.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/activity.h"

namespace trident {

/// Adds up seconds by phase, in the order in which phases are first met. CPU operations run inline, so phases are what they seem.
class PhaseTimer {
 public:
  /// Calls `work` and books its time.
  template <class Work>
  decltype(auto) measure(const char* phase, Work&& work) {
    const Activity activity(phase);
    const Booking booking(*this, phase);
    return std::forward<Work>(work)();
  }
  const std::vector<std::pair<std::string, double>>& seconds() const { return seconds_; }
  /// `observer` is called with the name of every phase that ends from now on.
  void observe(std::function<void(std::string_view phase)> observer) { observer_ = std::move(observer); }

 private:
  class Booking {
   public:
    Booking(PhaseTimer& timer, const char* phase) : timer_(timer), phase_(phase) {}
    ~Booking() { timer_.book(phase_, std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count()); }
    Booking(const Booking&) = delete;
    Booking& operator=(const Booking&) = delete;

   private:
    PhaseTimer& timer_;
    const char* phase_;
    std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  };

  void book(const char* phase, double seconds) {
    if (observer_) observer_(phase);
    for (auto& [name, total] : seconds_) {
      if (name == phase) {
        total += seconds;
        return;
      }
    }
    seconds_.emplace_back(phase, seconds);
  }

  std::vector<std::pair<std::string, double>> seconds_;
  std::function<void(std::string_view)> observer_;
};

}  // namespace trident
