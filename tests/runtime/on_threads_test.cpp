#include "runtime/kernels/on_threads.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

namespace trident {
namespace {

TEST(OnThreads, EveryStepIsDoneOnce) {
  for (const std::int64_t threads : {1, 2, 3}) {
    for (const std::int64_t count : {0, 1, 2, 10}) {
      std::vector<std::atomic<int>> done(static_cast<std::size_t>(count));
      share_out(count, threads, [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t step = first; step < last; ++step) ++done[static_cast<std::size_t>(step)];
      });
      for (const auto& times : done) EXPECT_EQ(times, 1) << count << " steps, " << threads << " threads";
    }
  }
}

TEST(OnThreads, AThreadPreparesOnce) {
  std::atomic<int> prepared = 0, steps = 0;
  share_out_prepared(100, 2, [&] {
    ++prepared;
    return [&](std::int64_t first, std::int64_t last) { steps += static_cast<int>(last - first); };
  });
  EXPECT_EQ(prepared, 2);
  EXPECT_EQ(steps, 100);
}

TEST(OnThreads, OthersDoTheStepsOfOneThatIsHeldUp) {
  std::atomic<int> done_elsewhere = 0, held_up = 0;
  share_out(100, 2, [&](std::int64_t first, std::int64_t last) {
    if (first == 0) {  // until all other steps are done
      while (done_elsewhere + static_cast<int>(last) < 100) std::this_thread::sleep_for(std::chrono::microseconds(50));
      ++held_up;
    } else {
      done_elsewhere += static_cast<int>(last - first);
    }
  });
  EXPECT_EQ(held_up, 1);
}

TEST(OnThreads, OneThreadEntersNoRegion) {
  share_out(1, 1, [](std::int64_t, std::int64_t) { EXPECT_EQ(omp_get_level(), 0); });
}

}  // namespace
}  // namespace trident
