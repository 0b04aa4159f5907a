#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <stdexcept>
#include <vector>

#include "runtime/device/allocator.h"
#include "runtime/device/cuda_device.h"
#include "runtime/device/stream.h"
#include "runtime/device/threads.h"
#include "runtime/error.h"

namespace trident {
namespace {

constexpr Device kCpu{};
#ifdef __SANITIZE_ADDRESS__
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

TEST(Allocator, BlocksAreAlignedToCacheLines) {
  for (const std::size_t bytes : {std::size_t{1}, std::size_t{100}, std::size_t{5000}, std::size_t{3} << 20}) {
    const Block block(bytes, kCpu);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(block.data()) % 64, 0U);
    EXPECT_EQ(block.bytes(), bytes);
    static_cast<char*>(block.data())[bytes - 1] = 1;
  }
  EXPECT_EQ(Block(0, kCpu).data(), nullptr);
}

TEST(Allocator, ASteadyStateAsksTheSystemForNothing) {
  if (kSanitized) GTEST_SKIP() << "blocks are not cached under the address sanitizer";
  const auto step = [] {
    std::vector<Block> blocks;
    for (const std::size_t bytes : {1000, 100000, 1000, 3 << 20, 77}) blocks.emplace_back(bytes, kCpu);
  };
  step();
  const std::int64_t before = memory_counters(kCpu).system_allocations;
  for (int i = 0; i < 10; ++i) step();
  EXPECT_EQ(memory_counters(kCpu).system_allocations, before);
}

TEST(Allocator, CountsBytesInUseAndTheirPeak) {
  const std::int64_t before = memory_counters(kCpu).in_use_bytes;
  reset_peak(kCpu);
  {
    const Block first(1 << 20, kCpu);
    { const Block second(1 << 21, kCpu); }
    EXPECT_EQ(memory_counters(kCpu).in_use_bytes, before + (1 << 20));
  }
  EXPECT_EQ(memory_counters(kCpu).in_use_bytes, before);
  EXPECT_EQ(memory_counters(kCpu).peak_bytes, before + (1 << 20) + (1 << 21));
  reset_peak(kCpu);
  EXPECT_EQ(memory_counters(kCpu).peak_bytes, before);
}

TEST(Allocator, CountsWhatHasNoMemory) {
  constexpr std::size_t kMoreThanThereIs = std::size_t{1} << 50;
  for (const Device counted : {Device{.counted = true}, Device{.kind = Device::Kind::cuda, .counted = true}}) {
    const MemoryCounters before = memory_counters(counted), real = memory_counters(kCpu);
    reset_peak(counted);
    { const Block block(kMoreThanThereIs, counted); }
    EXPECT_EQ(memory_counters(counted).peak_bytes - before.in_use_bytes, static_cast<std::int64_t>(kMoreThanThereIs));
    EXPECT_EQ(memory_counters(counted).allocated_bytes - before.allocated_bytes, static_cast<std::int64_t>(kMoreThanThereIs));
    EXPECT_EQ(memory_counters(counted).in_use_bytes, before.in_use_bytes);
    EXPECT_EQ(memory_counters(kCpu).allocated_bytes, real.allocated_bytes);
  }
}

TEST(Allocator, AnEmptiedCacheHoldsOnlyWhatIsInUse) {
  const Block held(1 << 20, kCpu);
  { const Block dropped(5 << 20, kCpu); }
  empty_cache(kCpu);
  EXPECT_EQ(memory_counters(kCpu).reserved_bytes, memory_counters(kCpu).in_use_bytes);
}

TEST(Allocator, MovedBlocksAreGivenBackOnce) {
  const std::int64_t before = memory_counters(kCpu).in_use_bytes;
  {
    Block a(4096, kCpu);
    void* data = a.data();
    Block b(std::move(a));
    EXPECT_EQ(b.data(), data);
    Block c;
    c = std::move(b);
    EXPECT_EQ(c.data(), data);
    EXPECT_EQ(memory_counters(kCpu).in_use_bytes, before + 4096);
  }
  EXPECT_EQ(memory_counters(kCpu).in_use_bytes, before);
}

TEST(Allocator, MoreThanThereIsIsAnErrorThatCountsNothing) {
  if (kSanitized) GTEST_SKIP() << "the address sanitizer ends the program where the system would return nothing";
  const MemoryCounters before = memory_counters(kCpu);
  EXPECT_THROW(Block(std::size_t{1} << 62, kCpu), DeviceError);
  EXPECT_EQ(memory_counters(kCpu).in_use_bytes, before.in_use_bytes);
}

TEST(Allocator, DevicesThatThisBuildLacksAreRefused) {
  EXPECT_THROW(Block(64, Device{Device::Kind::cuda, cuda_device_count()}), DeviceError);
}

TEST(Stream, WorkerRunsJobsInOrder) {
  std::vector<int> order;
  WorkerStream stream;
  for (int i = 0; i < 100; ++i) stream.enqueue([&order, i] { order.push_back(i); });
  stream.synchronize();
  ASSERT_EQ(order.size(), 100U);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(order[static_cast<std::size_t>(i)], i);
}

TEST(Stream, WorkerDropsJobsAfterAnErrorAndReportsItOnce) {
  WorkerStream stream;
  std::atomic<int> ran = 0;
  std::promise<void> thrown;
  stream.enqueue([&] {
    thrown.set_value();
    throw std::runtime_error("lost");
  });
  thrown.get_future().wait();
  for (int i = 0; i < 100; ++i) stream.enqueue([&] { ++ran; });
  EXPECT_THROW(stream.synchronize(), std::runtime_error);
  EXPECT_EQ(ran, 0);
  stream.enqueue([&] { ++ran; });
  stream.synchronize();
  EXPECT_EQ(ran, 1);
}

TEST(Stream, WorkerFinishesWhatIsLeftWhenDestroyed) {
  std::atomic<int> ran = 0;
  {
    WorkerStream stream;
    for (int i = 0; i < 10; ++i) stream.enqueue([&] { ++ran; });
  }
  EXPECT_EQ(ran, 10);
}

TEST(Threads, AtLeastOneIsNeeded) {
  const int before = num_threads();
  set_num_threads(1);
  EXPECT_EQ(num_threads(), 1);
  set_num_threads(before);
  EXPECT_THROW(set_num_threads(0), ConfigError);
  EXPECT_GE(available_cores(), 1);
}

}  // namespace
}  // namespace trident
