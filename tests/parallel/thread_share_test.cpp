#include "parallel/thread_share.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "runtime/tensor/create.h"
#include "tests/support/test_world.h"

namespace trident {
namespace {

using testing::session;

TEST(ThreadShare, TheRanksOfAHostShareItsCores) {
  ASSERT_EQ(unsetenv("OMP_NUM_THREADS"), 0);
  const ThreadShare share = share_cores(session());
  cpu_set_t cores;  // of whoever started this rank
  ASSERT_EQ(sched_getaffinity(getppid(), sizeof cores, &cores), 0);
  EXPECT_EQ(share.cores, CPU_COUNT(&cores));
  EXPECT_EQ(share.ranks, session().host().size());
  const Tensor threads = full({1}, share.threads, DType::f64);
  session().host().all_reduce(threads, ReduceOp::sum);
  EXPECT_EQ(to_number(threads), std::max(share.cores, share.ranks));
}

TEST(ThreadShare, AnAnswerOfTheUserCounts) {
  ASSERT_EQ(setenv("OMP_NUM_THREADS", "1", 1), 0);
  const ThreadShare share = share_cores(session());
  EXPECT_GE(share.threads, 1);
}

}  // namespace
}  // namespace trident
