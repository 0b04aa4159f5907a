#include "runtime/device/cuda_device.h"

#include <gtest/gtest.h>

#include <vector>

#include "runtime/device/allocator.h"
#include "runtime/device/block_counters.h"
#include "runtime/device/cuda_driver.h"
#include "runtime/device/launch_only.h"
#include "runtime/error.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"
#include "tests/support/on_gpu.h"

namespace trident {
namespace {

using testing::kGpu;
class CudaDevice : public testing::OnGpu {};

TEST_F(CudaDevice, HasANameAndMemory) {
  const DeviceProperties properties = device_properties(kGpu);
  EXPECT_FALSE(properties.name.empty());
  EXPECT_GE(properties.major, 8);
  EXPECT_GT(properties.memory_bytes, 0);
}

TEST_F(CudaDevice, DevicesThatDoNotExistAreNamed) {
  EXPECT_THROW(Block(1, Device{Device::Kind::cuda, cuda_device_count()}), DeviceError);
  EXPECT_THROW(Block(1, Device{Device::Kind::cuda, -1}), DeviceError);
}

TEST_F(CudaDevice, ValuesGoThereAndComeBack) {
  const std::vector<float> values{1, 2, 3, 4, 5, 6};
  const Tensor x = from_values<float>({2, 3}, values, kGpu);
  EXPECT_EQ(x.device(), kGpu);
  EXPECT_EQ(to_host<float>(x), values);
  EXPECT_EQ(to_host<float>(view::permute(x, {1, 0})), (std::vector<float>{1, 4, 2, 5, 3, 6}));
  EXPECT_EQ(to_number(view::slice(view::slice(x, 0, 1, 2), 1, 2, 3)), 6.0);
  EXPECT_EQ(to_host<float>(to_device(view::slice(x, 1, 1, 3), {})), (std::vector<float>{2, 3, 5, 6}));
  EXPECT_TRUE(to_host<float>(empty({0, 3}, DType::f32, kGpu)).empty());
}

TEST_F(CudaDevice, CopiesBetweenDevicesConvertAndKeepGaps) {
  const Tensor host = from_values<float>({2, 2}, std::vector<float>{1.5F, 2.5F, 3.5F, 4.5F});
  const Tensor wide = zeros({2, 4}, DType::f64, kGpu);
  copy_into(view::slice(wide, 1, 1, 3), host);
  EXPECT_EQ(to_host<double>(wide), (std::vector<double>{0, 1.5, 2.5, 0, 0, 3.5, 4.5, 0}));
  const Tensor back = zeros({4, 2}, DType::f32);
  copy_into(view::permute(back, {1, 0}), wide);
  EXPECT_EQ(to_host<float>(back), (std::vector<float>{0, 0, 1.5F, 3.5F, 2.5F, 4.5F, 0, 0}));
}

TEST_F(CudaDevice, OneDeviceGivesToAnother) {
  if (cuda_device_count() < 2) GTEST_SKIP() << "one CUDA device only";
  const Device other{Device::Kind::cuda, 1};
  const Tensor x = from_values<double>({3}, std::vector<double>{1, 2, 3}, kGpu);
  EXPECT_EQ(to_host<double>(to_device(x, other)), (std::vector<double>{1, 2, 3}));
  EXPECT_THROW(add_into(to_device(x, other), x), DeviceError);
}

TEST_F(CudaDevice, TensorsAreFilledThere) {
  EXPECT_EQ(to_host<float>(full({3}, 2.5, DType::f32, kGpu)), (std::vector<float>{2.5F, 2.5F, 2.5F}));
  EXPECT_EQ(to_host<double>(zeros({2}, DType::f64, kGpu)), (std::vector<double>{0, 0}));
  const Tensor x = full({2, 2}, 1.0, DType::f64, kGpu);
  set_zero(view::slice(x, 1, 0, 1));
  EXPECT_EQ(to_host<double>(x), (std::vector<double>{0, 1, 0, 1}));
}

TEST_F(CudaDevice, FreedBlocksAreUsedAgainOnTheirOwnStreamOnly) {
  empty_cache(kGpu);
  const void* first = Block(1 << 16, kGpu).data();
  EXPECT_EQ(Block(1 << 16, kGpu).data(), first);
  CudaStream other(kGpu);
  {
    const CurrentStream on_other(other);
    const Block block(1 << 16, kGpu);
    EXPECT_NE(block.data(), first);
  }
  const std::int64_t before = memory_counters(kGpu).system_allocations;
  EXPECT_EQ(Block(1 << 16, kGpu).data(), first);
  EXPECT_EQ(memory_counters(kGpu).system_allocations, before);
}

TEST_F(CudaDevice, APoolKeepsItsMemoryApartAndGivesItBackAtTheEnd) {
  empty_cache(kGpu);
  const std::int64_t reserved = memory_counters(kGpu).reserved_bytes;
  {
    const MemoryPool pool(kGpu);
    Block inside;
    {
      const UsingPool here(pool);
      inside = Block(1 << 20, kGpu);
    }
    const void* place = inside.data();
    inside = Block();
    EXPECT_NE(Block(1 << 20, kGpu).data(), place);
    const UsingPool again(pool);
    EXPECT_EQ(Block(1 << 20, kGpu).data(), place);
  }
  empty_cache(kGpu);
  EXPECT_EQ(memory_counters(kGpu).reserved_bytes, reserved);
}

TEST_F(CudaDevice, CountersOfBlocksAreZeroAndThoseOfOneStreamOrGraph) {
  const auto all_are_zero = [](const unsigned* counters, std::size_t count) {
    std::vector<unsigned> found(count, 1);
    CudaStream& stream = current_stream(kGpu);
    cuda_driver::copy(found.data(), counters, count * sizeof(unsigned), stream.handle());
    stream.synchronize();
    return found == std::vector<unsigned>(count, 0);
  };
  const unsigned* own = block_counters(kGpu, 100);
  EXPECT_EQ(block_counters(kGpu, 50), own);
  EXPECT_TRUE(all_are_zero(own, 100));
  empty_cache(kGpu);
  EXPECT_EQ(block_counters(kGpu, 100), own);
  const std::int64_t reserved = memory_counters(kGpu).reserved_bytes;
  {
    CudaStream other(kGpu);
    const MemoryPool pool(kGpu);
    {
      const CurrentStream there(other);
      EXPECT_NE(block_counters(kGpu, 100), own);
    }
    const UsingPool graph(pool);
    const unsigned* inside = block_counters(kGpu, 100);
    EXPECT_NE(inside, own);
    EXPECT_EQ(block_counters(kGpu, 100), inside);
    const unsigned* more = block_counters(kGpu, 1 << 20);
    EXPECT_NE(more, inside);
    EXPECT_TRUE(all_are_zero(more, 1 << 20));
    const CurrentStream beside(other);
    EXPECT_NE(block_counters(kGpu, 100), inside);
  }
  EXPECT_EQ(memory_counters(kGpu).reserved_bytes, reserved);
}

TEST_F(CudaDevice, AJobRunsOnTheStreamThatItIsPutOn) {
  CudaStream stream(kGpu);
  CudaStream& before = current_stream(kGpu);
  stream.enqueue([&] { EXPECT_EQ(&current_stream(kGpu), &stream); });
  EXPECT_EQ(&current_stream(kGpu), &before);
  order_after(before, stream);
  CudaEvent event(kGpu);
  event.record(before);
  event.synchronize();
  EXPECT_TRUE(event.has_happened());
  stream.synchronize();
}

TEST_F(CudaDevice, PartsThatOnlyLaunchMayNotWait) {
  const Tensor x = zeros({1}, DType::f32, kGpu), pinned = empty_pinned({1}, DType::f32);
  {
    const LaunchOnly part;
    EXPECT_THROW(to_host<float>(x), DeviceError);
    EXPECT_THROW(to_number(x), DeviceError);
    EXPECT_THROW(current_stream(kGpu).synchronize(), DeviceError);
    EXPECT_THROW(from_values<float>({1}, std::vector<float>{1}, kGpu), DeviceError);
    copy_into(pinned, x);
  }
  current_stream(kGpu).synchronize();
  EXPECT_EQ(to_number(pinned), 0.0);
}

}  // namespace
}  // namespace trident
