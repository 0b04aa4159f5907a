#include "launch/data/reading_threads.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <thread>
#include <vector>

#include "runtime/device/threads.h"

namespace trident {

void on_reading_threads(std::int64_t count, int threads, const std::function<void(std::int64_t)>& work) {
  std::vector<std::exception_ptr> errors(static_cast<std::size_t>(count));
  std::atomic<std::int64_t> next = 0;
  const auto take = [&] {
    for (std::int64_t k = next++; k < count; k = next++) {
      try {
        work(k);
      } catch (...) {
        errors[static_cast<std::size_t>(k)] = std::current_exception();
      }
    }
  };
  {
    std::vector<std::jthread> team;
    const std::int64_t helpers = std::min<std::int64_t>(threads, count) - 1;
    for (std::int64_t helper = 0; helper < helpers; ++helper) {
      team.emplace_back([&] {
        set_num_threads(1);
        take();
      });
    }
    take();
  }
  for (const std::exception_ptr& error : errors) {
    if (error) std::rethrow_exception(error);
  }
}

}  // namespace trident
