#include "runtime/kernels/on_threads.h"

#include <gtest/gtest.h>

#include <atomic>
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

TEST(OnThreads, OneThreadEntersNoRegion) {
  on_threads(1, [](std::int64_t thread, std::int64_t threads) {
    EXPECT_EQ(thread, 0);
    EXPECT_EQ(threads, 1);
    EXPECT_EQ(omp_get_level(), 0);
  });
}

}  // namespace
}  // namespace trident
