#include <gtest/gtest.h>

#include <cstring>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "runtime/device/emulated_memory.h"
#include "runtime/error.h"
#include "runtime/kernels/cuda/tensor_core.h"
#include "tests/support/temporary_folder.h"

// The emulated device finds mistakes in kernels. Its own tests make them.
namespace trident {
namespace {

using testing::message_of;

constexpr Cuda kDevice{nullptr};

/// Numbers on the emulated device.
template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(std::size_t count) : count_(count), data_(static_cast<T*>(emulation::allocate(count * sizeof(T)))) {}
  explicit DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) {
    const emulation::OpenMemory open;
    std::memcpy(data_, values.data(), count_ * sizeof(T));
  }
  ~DeviceArray() { emulation::release(data_, count_ * sizeof(T)); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  T* data() const { return data_; }
  std::vector<T> to_host() const {
    const emulation::OpenMemory open;
    return std::vector<T>(data_, data_ + count_);
  }

 private:
  std::size_t count_;
  T* data_;
};

template <int Threads>
__global__ void sum_of_blocks(int count, const float* x, float* sums) {
  const int i = static_cast<int>(cuda::grid_thread());
  const float sum = cuda::block_sum<Threads>(i < count ? x[i] : 0.0F);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum + cuda::block_sum<Threads>(0.0F);
  if (threadIdx.x != 0) cuda::block_sum<Threads>(0.0F);
}

TEST(Emulation, BlocksSumTheirThreadsThroughWarpsAndSharedMemory) {
  std::vector<float> values(200);
  std::iota(values.begin(), values.end(), 1.0F);
  const DeviceArray<float> x(values), sums(4);
  cuda::launch_kernel(sum_of_blocks<64>, 4, 64, 0, kDevice, 200, x.data(), sums.data());
  EXPECT_EQ(sums.to_host(), (std::vector<float>{2080, 6176, 10272, 1572}));
}

__global__ void reversed_through_shared(int* x) {
  int* buffer = cuda::dynamic_shared<int>();
  buffer[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  x[threadIdx.x] = buffer[blockDim.x - 1 - threadIdx.x];
}

TEST(Emulation, BarriersSeparateWritesFromReads) {
  const DeviceArray<int> x(std::vector<int>{1, 2, 3, 4, 5});
  cuda::launch_kernel(reversed_through_shared, 1, 5, 5 * sizeof(int), kDevice, x.data());
  EXPECT_EQ(x.to_host(), (std::vector<int>{5, 4, 3, 2, 1}));
}

__global__ void barrier_for_some() {
  if (threadIdx.x < 7) __syncthreads();
}

TEST(Emulation, ABarrierThatSomeThreadsMissIsAnError) {
  const std::string error = message_of<DeviceError>([] { cuda::launch_kernel(barrier_for_some, 2, 32, 0, kDevice); });
  EXPECT_NE(error.find("waits at the barrier in emulation_test.cpp"), std::string::npos) << error;
  EXPECT_NE(error.find("from thread (7, 0, 0) on it has returned"), std::string::npos) << error;
}

__global__ void two_barriers() {
  if (threadIdx.x % 2 == 0) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}

TEST(Emulation, DifferentBarriersDoNotMeet) {
  EXPECT_NE(message_of<DeviceError>([] { cuda::launch_kernel(two_barriers, 1, 32, 0, kDevice); }).find("stands still"), std::string::npos);
}

__global__ void shuffle_with_half_a_warp() {
  if (threadIdx.x < 16) __shfl_xor_sync(cuda::kAllLanes, 1, 1);
}
__global__ void shuffle_past_the_end() { __shfl_xor_sync(cuda::kAllLanes, 1, 16); }

TEST(Emulation, WarpOperationsNeedTheirLanes) {
  EXPECT_NE(message_of<DeviceError>([] { cuda::launch_kernel(shuffle_with_half_a_warp, 1, 32, 0, kDevice); }).find("waits for lanes"),
            std::string::npos);
  EXPECT_NE(message_of<DeviceError>([] { cuda::launch_kernel(shuffle_past_the_end, 1, 20, 0, kDevice); }).find("takes no part"),
            std::string::npos);
}

__global__ void read_first(const int* from, int* to) { *to = *from; }

TEST(Emulation, HostAddressesDoNotEnterKernels) {
  const int on_host = 1;
  const DeviceArray<int> x(1);
  const std::string error = message_of<DeviceError>([&] { cuda::launch_kernel(read_first, 1, 1, 0, kDevice, &on_host, x.data()); });
  EXPECT_NE(error.find("argument 0 holds an address of the host"), std::string::npos) << error;
}

TEST(Emulation, HostCodeCannotTouchDeviceMemory) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const DeviceArray<int> x(1);
  EXPECT_DEATH(*static_cast<volatile int*>(x.data()) = 1, "host code touched device memory");
}

TEST(Emulation, NewMemoryIsNotANumber) {
  const DeviceArray<float> x(3);
  for (const float value : x.to_host()) EXPECT_NE(value, value);
}

__global__ void used_before_waiting(const float* x, float* y) {
  __shared__ __attribute__((aligned(16))) float buffer[4];
  cuda::copy_async<16>(buffer, x);
  cuda::commit_copies();
  y[0] = buffer[0];
  cuda::wait_copies<0>();
  y[1] = buffer[1];
  cuda::copy_async<16>(buffer, x, false);
  cuda::commit_copies();
  cuda::wait_copies<0>();
  y[2] = buffer[2];
}

TEST(Emulation, AsynchronousCopiesLandWhenTheyAreWaitedFor) {
  const DeviceArray<float> x(std::vector<float>{1, 2, 3, 4}), y(3);
  cuda::launch_kernel(used_before_waiting, 1, 1, 0, kDevice, x.data(), y.data());
  const auto values = y.to_host();
  EXPECT_NE(values[0], values[0]);
  EXPECT_EQ(values[1], 2.0F);
  EXPECT_EQ(values[2], 0.0F);
}

/// y (16, 8) = a (16, 16) b, b given as its transpose (8, 16): as attention multiplies queries with keys.
__global__ void product(const bf16* a, const bf16* b, float* y) {
  __shared__ __attribute__((aligned(16))) bf16 a_tile[16][16], b_tile[8][16];
  const int lane = static_cast<int>(threadIdx.x);
  for (int i = lane; i < 256; i += 32) a_tile[i / 16][i % 16] = a[i];
  for (int i = lane; i < 128; i += 32) b_tile[i / 16][i % 16] = b[i];
  __syncwarp();
  unsigned left[4], right[2];
  cuda::load_matrix<4>(left, &a_tile[lane % 16][lane / 16 * 8]);
  cuda::load_matrix<2>(right, &b_tile[lane % 8][lane / 8 % 2 * 8]);
  float sums[4] = {};
  cuda::mma_bf16(sums, left, right);
  for (int i = 0; i < 4; ++i) y[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = sums[i];
}

TEST(Emulation, TensorCoresMultiplyMatrices) {
  std::vector<bf16> a(256), b(128);
  for (std::size_t i = 0; i < a.size(); ++i) a[i] = cuda::stored<bf16>(static_cast<float>(i % 7) - 3.0F);
  for (std::size_t i = 0; i < b.size(); ++i) b[i] = cuda::stored<bf16>(static_cast<float>(i % 5) - 2.0F);
  const DeviceArray<bf16> left(a), right(b);
  const DeviceArray<float> y(128);
  cuda::launch_kernel(product, 1, 32, 0, kDevice, left.data(), right.data(), y.data());
  const auto values = y.to_host();
  for (std::size_t row = 0; row < 16; ++row) {
    for (std::size_t column = 0; column < 8; ++column) {
      float sum = 0;
      for (std::size_t k = 0; k < 16; ++k) sum += cuda::compute(a[row * 16 + k]) * cuda::compute(b[column * 16 + k]);
      EXPECT_EQ(values[row * 8 + column], sum) << row << ", " << column;
    }
  }
}

}  // namespace
}  // namespace trident
