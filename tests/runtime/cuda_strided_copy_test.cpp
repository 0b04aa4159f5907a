#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "runtime/kernels/strided_copy.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"
#include "tests/support/on_gpu.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_near.h"

namespace trident {
namespace {

using testing::kGpu;
class CudaStridedCopy : public testing::OnGpu {};

/// x as `dtype`, with values that every number type can hold.
Tensor numbers(const Shape& shape, DType dtype, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<double> values(static_cast<std::size_t>(numel(shape)));
  for (double& value : values) value = static_cast<double>(random() % 101) - 50.0;
  const Tensor source = from_values<double>(shape, values);
  const Tensor x = empty(shape, dtype);
  copy_into(x, source);
  return x;
}

void expect_equal(const Tensor& a, const Tensor& b) {
  const Tensor left = empty(a.shape(), DType::f64), right = empty(b.shape(), DType::f64);
  copy_into(left, a);
  copy_into(right, b);
  EXPECT_EQ(to_host<double>(left), to_host<double>(right));
}

constexpr DType kReal[] = {DType::f32, DType::f64, DType::bf16, DType::f16, DType::i64, DType::i32, DType::boolean};

TEST_F(CudaStridedCopy, EveryNumberTypeBecomesEveryOther) {
  for (const DType from : kReal) {
    const Tensor x = numbers({7, 40}, from, 1);
    const Tensor on_gpu = to_device(x, kGpu);
    for (const DType to : kReal) {
      const Tensor expected = empty({7, 40}, to), got = empty({7, 40}, to, kGpu);
      copy_into(expected, x);
      copy_into(got, on_gpu);
      SCOPED_TRACE(std::string(name_of(from)) + " to " + std::string(name_of(to)));
      expect_equal(expected, to_device(got, {}));
    }
  }
}

TEST_F(CudaStridedCopy, AnyOrderOfDimensionsIsCopied) {
  std::mt19937_64 random(2);
  const std::vector<Shape> shapes{
      {1}, {5}, {33, 65}, {64, 128}, {3, 4, 32, 48}, {2, 9, 10, 11, 8}, {16, 24, 8, 8}, {2, 3, 100, 7}, {0, 4}, {70, 3, 70}};
  for (const DType dtype : {DType::f32, DType::f64, DType::bf16, DType::boolean}) {
    for (const Shape& shape : shapes) {
      const Tensor x = numbers(shape, dtype, random());
      std::vector<std::int64_t> order(static_cast<std::size_t>(shape.rank()));
      for (int dim = 0; dim < shape.rank(); ++dim) order[static_cast<std::size_t>(dim)] = dim;
      std::shuffle(order.begin(), order.end(), random);
      const Tensor turned = view::permute(x, Shape(order));
      SCOPED_TRACE(to_string(turned.shape()));
      expect_equal(turned, to_device(packed(view::permute(to_device(x, kGpu), Shape(order))), {}));
    }
  }
}

TEST_F(CudaStridedCopy, SlicesBroadcastsAndMisalignedPlacesAreCopied) {
  for (const std::int64_t begin : {0, 1, 2, 4}) {
    for (const std::int64_t width : {1, 3, 8, 64}) {
      const Tensor x = numbers({6, 80}, DType::f32, 3), on_gpu = to_device(x, kGpu);
      const Tensor slice = view::slice(x, 1, begin, begin + width), gpu_slice = view::slice(on_gpu, 1, begin, begin + width);
      expect_equal(slice, to_device(packed(gpu_slice), {}));
      const Tensor row = view::slice(gpu_slice, 0, 2, 3);
      expect_equal(view::broadcast_to(view::slice(slice, 0, 2, 3), {5, width}), to_device(packed(view::broadcast_to(row, {5, width})), {}));
      const Tensor target = to_device(x, kGpu), expected = packed(x).detached();
      copy_into(view::slice(target, 1, begin, begin + width), view::broadcast_to(row, {6, width}));
      const Tensor copy = empty({6, 80}, DType::f32);
      copy_into(copy, expected);
      copy_into(view::slice(copy, 1, begin, begin + width), view::broadcast_to(view::slice(slice, 0, 2, 3), {6, width}));
      expect_equal(copy, to_device(target, {}));
    }
  }
}

TEST_F(CudaStridedCopy, TensorsAreAddedInPlace) {
  for (const DType dtype : {DType::f32, DType::f64}) {
    for (const std::int64_t width : {1, 7, 64, 1028}) {
      const Tensor a = numbers({9, width}, dtype, 4), b = numbers({width, 9}, dtype, 5);
      const Tensor on_gpu = to_device(a, kGpu), expected = empty(a.shape(), dtype);
      copy_into(expected, a);
      add_into(expected, view::permute(b, {1, 0}));
      add_into(expected, a);
      add_into(on_gpu, view::permute(to_device(b, kGpu), {1, 0}));
      add_into(on_gpu, to_device(a, kGpu));
      expect_equal(expected, to_device(on_gpu, {}));
    }
  }
}

TEST_F(CudaStridedCopy, ComplexNumbersAreCopiedAddedAndConverted) {
  const Tensor parts = numbers({8, 12, 2}, DType::f32, 6);
  const Tensor x = view::as_complex(parts), on_gpu = to_device(x, kGpu);
  EXPECT_EQ(to_host<c64>(view::permute(on_gpu, {1, 0})), to_host<c64>(view::permute(x, {1, 0})));
  const Tensor wide = empty({8, 12}, DType::c128, kGpu);
  copy_into(wide, on_gpu);
  add_into(wide, wide);
  const auto values = to_host<c64>(x);
  const auto doubled = to_host<c128>(wide);
  for (std::size_t i = 0; i < values.size(); ++i) EXPECT_EQ(doubled[i], 2.0 * c128(values[i]));
}

TEST_F(CudaStridedCopy, RoundingToBf16IsThatOfTheCpu) {
  std::mt19937_64 random(7);
  std::vector<float> values(1000);
  for (float& value : values) value = std::ldexp(static_cast<float>(random()) / 1e19F - 0.5F, static_cast<int>(random() % 40) - 20);
  const Tensor x = from_values<float>({1000}, values), expected = empty({1000}, DType::bf16), got = empty({1000}, DType::bf16, kGpu);
  copy_into(expected, x);
  copy_into(got, to_device(x, kGpu));
  expect_equal(expected, to_device(got, {}));
  const Tensor back = empty({1000}, DType::f32, kGpu);
  copy_into(back, got);
  expect_equal(expected, to_device(back, {}));
}

}  // namespace
}  // namespace trident
