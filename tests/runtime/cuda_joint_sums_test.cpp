#include <gtest/gtest.h>

#include <functional>

#include "runtime/device/cuda_graph.h"
#include "runtime/kernels/field_norm.h"
#include "runtime/kernels/matmul.h"
#include "runtime/tensor/view.h"
#include "tests/runtime/cuda_kernels.h"

// Sums that the blocks of a launch add up together, launched behind one another without a wait: whoever comes last must see what all
// others wrote, and leave the counters as it found them. On a GPU blocks come in another order each time; the bits must not show it.
namespace trident {
namespace {

using namespace testing;

class CudaJointSums : public OnGpu {};

/// Adds up into a tensor of `width` numbers of f32.
using AddUp = std::function<void(const Tensor& sums)>;

/// Calls launch(sums) again and again; what each of them finds is kept aside by the device.
Tensor sums_of_launches(std::int64_t width, const AddUp& launch) {
  const std::int64_t launches = is_emulated(kGpu) ? 3 : 300;
  const Tensor sums = room<float>({width}), all = room<float>({launches, width});
  for (std::int64_t i = 0; i < launches; ++i) {
    launch(sums);
    copy_into(view::reshape(view::slice(all, 0, i, i + 1), {width}), sums);
  }
  return all;
}

void expect_all(const Tensor& found, const Tensor& expected) {
  const Tensor all = back(found);
  const Tensor first = view::slice(all, 0, 0, 1);
  EXPECT_TENSOR_NEAR(view::reshape(first, expected.shape()), expected, kTolerance<float>);
  for (std::int64_t i = 1; i < all.size(0); ++i) EXPECT_TENSOR_NEAR(view::slice(all, 0, i, i + 1), first, 0);
}

/// The same in a graph, and by two streams at once.
void compare(const Tensor& expected, const AddUp& add_up) {
  const std::int64_t width = expected.numel();
  {
    SCOPED_TRACE("launch by launch");
    expect_all(sums_of_launches(width, add_up), expected);
  }
  {
    SCOPED_TRACE("as a graph");
    const Tensor of_graph = room<float>({width});
    CudaGraph graph(kGpu, [&] {
      add_up(of_graph);
      add_up(of_graph);
    });
    expect_all(sums_of_launches(width,
                                [&](const Tensor& sums) {
                                  graph.launch();
                                  copy_into(sums, of_graph);
                                }),
               expected);
  }
  SCOPED_TRACE("beside another stream");
  CudaStream other(kGpu);
  order_after(other, current_stream(kGpu));  // where x was brought there
  Tensor beside;
  other.enqueue([&] { beside = sums_of_launches(width, add_up); });
  const Tensor own = sums_of_launches(width, add_up);
  other.synchronize();
  expect_all(beside, expected);
  expect_all(own, expected);
}

TEST_F(CudaJointSums, OfPlanesAreTheSameEveryTime) {
  const PowerExtents extents{.planes = 3, .points = 36000, .power = 2.0};  // 18 parts: more than a group of them
  const Tensor x = random_numbers({extents.planes, extents.points}, 1), there = on_gpu<float>(x),
               expected = zeros({extents.planes}, DType::f64);
  power_sums<double>(Cpu{}, extents, x.data<double>(), expected.data<double>());
  compare(expected, [&](const Tensor& sums) { power_sums<float>(gpu(), extents, there.data<float>(), sums.data<float>()); });
}

TEST_F(CudaJointSums, OfColumnsAreTheSameEveryTime) {
  const LinearSize size{.rows = 4700, .in = 1, .out = 72};
  const Tensor dy = random_numbers({size.rows, size.out}, 2), there = on_gpu<float>(dy), expected = zeros({size.out}, DType::f64);
  const double* no_x = nullptr;
  linear_backward_weight<double>(Cpu{}, size, no_x, dy.data<double>(), {}, {expected.data<double>()});
  const float* no_wide_x = nullptr;
  compare(expected, [&](const Tensor& sums) {
    linear_backward_weight<float>(gpu(), size, no_wide_x, there.data<float>(), {}, {sums.data<float>()});
  });
}

}  // namespace
}  // namespace trident
