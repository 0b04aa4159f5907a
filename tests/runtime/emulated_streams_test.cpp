#include "runtime/device/emulated_streams.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "runtime/device/cuda_device.h"
#include "runtime/device/cuda_driver.h"
#include "runtime/device/cuda_graph.h"
#include "runtime/error.h"
#include "runtime/kernels/cuda/tensor_core.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "tests/support/on_gpu.h"
#include "tests/support/temporary_folder.h"

// What a GPU would refuse, or do differently, the emulated device refuses or does so too.
namespace trident {
namespace {

using testing::kGpu;
using testing::message_of;
class EmulatedStreams : public testing::OnGpu {};

std::string error_of_capture(const std::function<void()>& work) {
  return message_of<DeviceError>([&] { emulation::capture(current_stream(kGpu).handle(), work); });
}

TEST_F(EmulatedStreams, AGraphKeepsTheNumbersAndAddressesOfItsCapture) {
  const Tensor y = zeros({1}, DType::f64, kGpu);
  int calls = 0;
  const Tensor* made = nullptr;
  Tensor result;
  CudaGraph graph(kGpu, [&] {
    copy_into(y, full({1}, ++calls, DType::f64, kGpu));
    result = full({1}, 10.0 * calls, DType::f64, kGpu);
    made = &result;
  });
  EXPECT_EQ(to_number(y), 1.0);  // of the first run
  EXPECT_EQ(calls, 2);
  calls = 100;
  const std::int64_t before = launches_in_graphs();
  graph.launch();
  EXPECT_EQ(launches_in_graphs() - before, 3);  // two that fill, one that copies
  EXPECT_EQ(to_number(y), 2.0);
  EXPECT_EQ(to_number(*made), 20.0);
  set_zero(y);
  graph.launch();
  EXPECT_EQ(to_number(y), 2.0);
}

TEST_F(EmulatedStreams, ACaptureFollowsStreamsThatComeBack) {
  CudaStream other(kGpu);
  CudaStream& own = current_stream(kGpu);
  const Tensor x = zeros({1}, DType::f64, kGpu);
  const auto on_other = [&] { other.enqueue([&] { set_zero(x); }); };
  EXPECT_EQ(error_of_capture([&] {
              order_after(other, own);
              on_other();
              order_after(own, other);
            }),
            "");
  EXPECT_NE(error_of_capture([&] {
              order_after(other, own);
              on_other();
            }).find("not waited for at the end"),
            std::string::npos);
  EXPECT_NE(error_of_capture([&] {
              order_after(other, own);
              order_after(own, other);
              on_other();
            }).find("not waited for at the end"),
            std::string::npos);
}

TEST_F(EmulatedStreams, ACaptureKnowsNothingOfWhatHappensOutside) {
  CudaStream other(kGpu);
  CudaStream& own = current_stream(kGpu);
  CudaEvent outside(kGpu), inside(kGpu), never(kGpu);
  outside.record(other);
  EXPECT_NE(error_of_capture([&] { order_after(own, outside); }).find("outside of the capture"), std::string::npos);
  EXPECT_NE(error_of_capture([&] { own.synchronize(); }).find("is being captured"), std::string::npos);
  EXPECT_EQ(error_of_capture([&] {
              inside.record(own);
              order_after(own, never);
            }),
            "");
  EXPECT_NE(message_of<DeviceError>([&] { inside.has_happened(); }).find("recorded in a capture"), std::string::npos);
  EXPECT_NE(message_of<DeviceError>([&] { order_after(own, inside); }).find("a capture that is over"), std::string::npos);
  const Tensor x = zeros({1}, DType::f64, kGpu);
  double pageable = 0;
  EXPECT_NE(error_of_capture([&] { cuda_driver::copy(&pageable, x.bytes(), sizeof pageable, own.handle()); }).find("not pinned"),
            std::string::npos);
}

TEST_F(EmulatedStreams, AThreadWorksOnTheDeviceThatItHasChosen) {
  const Tensor x = zeros({1}, DType::f64, kGpu);
  void* const stream = current_stream(kGpu).handle();
  std::string unchosen, other;
  std::thread([&] {
    unchosen = message_of<DeviceError>([&] { cuda_driver::set_zero(x.bytes(), 8, stream); });
    cuda_driver::use_device(1);
    other = message_of<DeviceError>([&] { cuda_driver::set_zero(x.bytes(), 8, stream); });
  }).join();
  EXPECT_NE(unchosen.find("uses device -1"), std::string::npos) << unchosen;
  EXPECT_NE(other.find("uses device 1"), std::string::npos) << other;
}

__global__ void load_four(const float* x, float* y) { cuda::store<2>(y, {x[0], cuda::load<4>(x)[3]}); }
__global__ void copy_four(const float* x) {
  __shared__ __attribute__((aligned(16))) float buffer[4];
  cuda::copy_async<16>(buffer, x);
}

TEST_F(EmulatedStreams, VectorsLieAtMultiplesOfTheirBytes) {
  const Tensor x = zeros({8}, DType::f32, kGpu);
  const auto* from = x.data<float>();
  auto* to = x.data<float>();
  const Cuda device{current_stream(kGpu).handle(), kGpu.index};
  EXPECT_EQ(message_of<DeviceError>([&] { cuda::launch_kernel(load_four, 1, 1, 0, device, from, to + 4); }), "");
  for (const int shift : {1, 2, 3})
    EXPECT_NE(message_of<DeviceError>([&] { cuda::launch_kernel(load_four, 1, 1, 0, device, from + shift, to); }).find("a vector of 16"),
              std::string::npos);
  EXPECT_NE(message_of<DeviceError>([&] { cuda::launch_kernel(load_four, 1, 1, 0, device, from, to + 5); }).find("a vector of 8"),
            std::string::npos);
  EXPECT_NE(message_of<DeviceError>([&] { cuda::launch_kernel(copy_four, 1, 1, 0, device, from + 1); }).find("a vector of 16"),
            std::string::npos);
}

}  // namespace
}  // namespace trident
