#include "runtime/tensor/tensor.h"

#include <cmath>
#include <limits>

#include "runtime/error.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_near.h"

namespace trident {
namespace {

using testing::random_tensor;

Tensor count_to(const Shape& shape) {
  std::vector<double> values(static_cast<std::size_t>(numel(shape)));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<double>(i);
  return from_values(shape, values);
}

TEST(ShapeArithmetic, CountsElementsAndRefusesOverflow) {
  EXPECT_EQ(numel({}), 1);
  EXPECT_EQ(numel({2, 3, 4}), 24);
  EXPECT_EQ(numel({2, 0, 4}), 0);
  EXPECT_THROW(numel({std::int64_t{1} << 32, std::int64_t{1} << 32}), ShapeError);
  EXPECT_THROW(numel({0, std::int64_t{1} << 32, std::int64_t{1} << 32}), ShapeError);
  EXPECT_THROW(numel({2, -1}), ShapeError);
  EXPECT_THROW(empty({std::int64_t{1} << 61}, DType::f64), ShapeError);  // the bytes do not fit in 63 bits
}

TEST(ShapeArithmetic, HoldsEightDimensionsAtMost) {
  Shape shape{1, 2, 3, 4, 5, 6, 7, 8};
  EXPECT_EQ(shape.rank(), 8);
  EXPECT_THROW(shape.push_back(9), ShapeError);
}

TEST(ShapeArithmetic, StridesAreRowMajor) {
  EXPECT_EQ(contiguous_strides({2, 3, 4}), (Shape{12, 4, 1}));
  EXPECT_EQ(contiguous_strides({}), Shape{});
}

TEST(ShapeArithmetic, BroadcastsAsNumPyDoes) {
  EXPECT_EQ(broadcast_shape("test", {2, 1, 4}, {3, 1}), (Shape{2, 3, 4}));
  EXPECT_EQ(broadcast_shape("test", {}, {3}), Shape{3});
  EXPECT_EQ(broadcast_shape("test", {0, 3}, {1, 1}), (Shape{0, 3}));
  EXPECT_THROW(broadcast_shape("test", {2}, {3}), ShapeError);
}

TEST(ShapeArithmetic, PrintsLikeATuple) {
  EXPECT_EQ(to_string(Shape{}), "()");
  EXPECT_EQ(to_string(Shape{4}), "(4,)");
  EXPECT_EQ(to_string(Shape{4, 1024, 96}), "(4, 1024, 96)");
}

TEST(Tensor, ReadsOnlyInItsOwnType) {
  const Tensor x = zeros({2}, DType::f32);
  EXPECT_THROW(x.data<double>(), ShapeError);
  EXPECT_THROW(Tensor{}.data<float>(), ShapeError);
}

TEST(Tensor, CopiesShareMemory) {
  const Tensor x = zeros({2}, DType::f64), y = x;
  x.data<double>()[1] = 3;
  EXPECT_EQ(y.data<double>()[1], 3);
}

TEST(Tensor, KnowsWhenItIsContiguous) {
  const Tensor x = count_to({2, 3, 4});
  EXPECT_TRUE(x.is_contiguous());
  EXPECT_FALSE(view::permute(x, {0, 2, 1}).is_contiguous());
  EXPECT_TRUE(view::slice(x, 0, 1, 2).is_contiguous());
  EXPECT_FALSE(view::slice(x, 2, 1, 3).is_contiguous());
  EXPECT_TRUE(view::permute(count_to({1, 3}), {1, 0}).is_contiguous());  // the stride of an extent of 1 does not matter
  EXPECT_TRUE(view::permute(zeros({0, 3}, DType::f64), {1, 0}).is_contiguous());
}

TEST(View, SlicesPermutesBroadcastsAndReshapes) {
  const Tensor x = count_to({2, 3});
  EXPECT_TENSOR_NEAR(packed(view::slice(x, -1, 1, 3)), from_values<double>({2, 2}, {1, 2, 4, 5}), 0);
  EXPECT_TENSOR_NEAR(packed(view::permute(x, {1, 0})), from_values<double>({3, 2}, {0, 3, 1, 4, 2, 5}), 0);
  EXPECT_TENSOR_NEAR(packed(view::broadcast_to(view::slice(x, 0, 0, 1), {2, 2, 3})),
                     from_values<double>({2, 2, 3}, {0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2}), 0);
  EXPECT_EQ(view::reshape(x, {6}).data<double>(), x.data<double>());
  EXPECT_THROW(view::reshape(x, {5}), ShapeError);
  EXPECT_THROW(view::reshape(view::permute(x, {1, 0}), {6}), ShapeError);
  EXPECT_THROW(view::slice(x, 1, 2, 4), ShapeError);
  EXPECT_THROW(view::broadcast_to(x, {3}), ShapeError);
}

TEST(Create, FullFromValuesAndBack) {
  EXPECT_TENSOR_NEAR(full({2, 2}, 1.5, DType::f32), from_values<float>({2, 2}, {1.5F, 1.5F, 1.5F, 1.5F}), 0);
  EXPECT_EQ(to_host<double>(view::permute(count_to({2, 2}), {1, 0})), (std::vector<double>{0, 2, 1, 3}));
  EXPECT_THROW(from_values<double>({3}, {1, 2}), ShapeError);
  EXPECT_EQ(to_number(full({1, 1}, 2.5, DType::f32)), 2.5);
  EXPECT_THROW(to_number(zeros({2}, DType::f32)), ShapeError);
}

TEST(Create, ForeignMemoryIsKeptAlive) {
  auto values = std::make_shared<std::vector<float>>(std::vector<float>{1, 2, 3});
  const std::weak_ptr<std::vector<float>> watch = values;
  Tensor x = from_memory(values->data(), {3}, DType::f32, values);
  values.reset();
  Tensor part = view::slice(x, 0, 1, 3);
  x = {};
  EXPECT_EQ(part.data<float>()[1], 3.0F);
  part = {};
  EXPECT_TRUE(watch.expired());
}

TEST(Create, SetZeroTouchesOnlyTheView) {
  const Tensor x = full({3, 4}, 1.0, DType::f64);
  set_zero(view::slice(view::slice(x, 0, 1, 2), 1, 1, 3));
  EXPECT_TENSOR_NEAR(x, from_values<double>({3, 4}, {1, 1, 1, 1, 1, 0, 0, 1, 1, 1, 1, 1}), 0);
}

/// Every element of x at its place by strides, one by one.
std::vector<double> one_by_one(const Tensor& x) {
  std::vector<double> values;
  for (std::int64_t index = 0; index < x.numel(); ++index) {
    std::int64_t rest = index, offset = 0;
    for (int dim = x.rank() - 1; dim >= 0; --dim) {
      offset += rest % x.size(dim) * x.strides()[dim];
      rest /= x.size(dim);
    }
    values.push_back(x.data<double>()[offset]);
  }
  return values;
}

TEST(Copy, ReadsEveryOrderOfDimensions) {
  // Large enough for several threads, tiles with tails, and merged dimensions.
  const Tensor x = random_tensor({3, 37, 5, 71}, 1);
  for (const Shape& order :
       {Shape{0, 1, 2, 3}, Shape{0, 2, 1, 3}, Shape{0, 3, 2, 1}, Shape{3, 2, 1, 0}, Shape{1, 2, 3, 0}, Shape{2, 3, 0, 1}}) {
    const Tensor permuted = view::permute(x, order);
    const Tensor part = view::slice(view::slice(permuted, 1, 1, permuted.size(1)), 3, 0, permuted.size(3) - 1);
    for (const Tensor& source : {permuted, part}) {
      EXPECT_TENSOR_NEAR(packed(source), from_values(source.shape(), one_by_one(source)), 0);
    }
  }
}

TEST(Copy, WritesEveryOrderOfDimensions) {
  const Tensor x = random_tensor({37, 5, 71}, 1);
  for (const Shape& order : {Shape{0, 2, 1}, Shape{2, 1, 0}, Shape{1, 2, 0}}) {
    const Tensor source = packed(view::permute(x, order)), target = zeros(x.shape(), DType::f64);
    copy_into(view::permute(target, order), source);
    EXPECT_TENSOR_NEAR(target, x, 0);
    add_into(view::permute(target, order), source);
    for (std::int64_t i = 0; i < x.numel(); ++i) ASSERT_EQ(target.data<double>()[i], 2 * x.data<double>()[i]);
  }
}

/// Numbers of type T that are turned on the way, with tails in both dimensions, and that none but these are written.
template <class T>
void expect_turned(std::int64_t rows = 37, std::int64_t columns = 45) {
  const std::int64_t step = rows + 13;
  std::vector<T> values;
  for (std::int64_t i = 0; i < rows * columns; ++i) values.push_back(static_cast<T>(static_cast<float>(i % 1999)));
  const Tensor source = view::permute(from_values<T>({rows, columns}, values), {1, 0});
  const Tensor all = from_values<T>({columns, step}, std::vector<T>(columns * step, T(3))), target = view::slice(all, 1, 0, rows);
  const auto expect_times = [&](T times) {
    for (std::int64_t row = 0; row < columns; ++row) {
      for (std::int64_t column = 0; column < step; ++column) {
        const T found = all.data<T>()[row * step + column];
        const T wanted = column < rows ? times * values[static_cast<std::size_t>(column * columns + row)] : T(3);
        ASSERT_EQ(found, wanted) << row << " " << column;
      }
    }
  };
  copy_into(target, source);
  expect_times(T(1));
  if constexpr (!std::is_integral_v<T>) {
    add_into(target, source);
    expect_times(T(2));
  }
}

TEST(Copy, TurnsNumbersOfEveryWidth) {
  expect_turned<float>();
  expect_turned<double>();
  expect_turned<c64>();
  expect_turned<c128>();
  expect_turned<std::int32_t>();
  expect_turned<std::int64_t>();
}

/// Too large for the caches, and rows that begin amid lines among others.
TEST(Copy, TurnsLargeMatrices) {
  expect_turned<float>(1029, 1030);
  expect_turned<c64>(1029, 520);
}

TEST(Copy, LongContiguousRunsAreWhole) {
  const Tensor x = random_tensor({(1 << 16) + 13}, 1), y = zeros({(1 << 16) + 13}, DType::f64);
  copy_into(y, x);
  EXPECT_TENSOR_NEAR(y, x, 0);
}

double through(double value, DType dtype) {
  const Tensor x = empty({1}, dtype);
  copy_into(x, from_values<double>({1}, {value}));
  return to_number(x);
}

TEST(Copy, ConversionsRoundToNearestEven) {
  EXPECT_EQ(through(0.1, DType::f32), static_cast<double>(0.1F));
  // bf16 keeps 8 significant bits: 1 + 2^-8 is a tie between 1 and 1 + 2^-7, 1 + 3 * 2^-8 one between 1 + 2^-7 and 1 + 2^-6.
  EXPECT_EQ(through(1.0 + 0x1p-8, DType::bf16), 1.0);
  EXPECT_EQ(through(1.0 + 0x1.8p-7, DType::bf16), 1.0 + 0x1p-6);
  EXPECT_EQ(through(1.0 + 0x1.02p-8, DType::bf16), 1.0 + 0x1p-7);
  EXPECT_EQ(through(-3.0e38, DType::bf16), -0x1.c4p127);
  EXPECT_EQ(through(3.4e38, DType::bf16), std::numeric_limits<double>::infinity());  // rounds up past the largest
  EXPECT_TRUE(std::isnan(through(NAN, DType::bf16)));
  EXPECT_EQ(through(1.0 + 0x1p-11, DType::f16), 1.0);
  EXPECT_EQ(through(1e6, DType::f16), std::numeric_limits<double>::infinity());
  EXPECT_EQ(through(-2.9, DType::i64), -2.0);
  EXPECT_EQ(through(7.0, DType::i32), 7.0);
}

TEST(Copy, AnythingButZeroIsTrue) {
  EXPECT_EQ(through(0.25, DType::boolean), 1.0);
  EXPECT_EQ(through(0.0, DType::boolean), 0.0);
}

TEST(Copy, ComplexNumbersCopyAndAdd) {
  const Tensor x = from_values<c128>({2}, {{1, 2}, {3, 4}}), y = empty({2}, DType::c64);
  copy_into(y, x);
  EXPECT_EQ(to_host<c64>(y), (std::vector<c64>{{1, 2}, {3, 4}}));
  add_into(x, x);
  EXPECT_EQ(to_host<c128>(x), (std::vector<c128>{{2, 4}, {6, 8}}));
  EXPECT_THROW(copy_into(y, zeros({2}, DType::f32)), ShapeError);
}

TEST(Copy, WhatIsOnlyCountedReadsAsZero) {
  const Device counted{.counted = true};
  const Tensor x = to_device(count_to({4}), counted);
  set_zero(x);
  add_into(x, x);
  EXPECT_EQ(to_host<double>(x), std::vector<double>(4));
  EXPECT_EQ(to_number(view::slice(x, 0, 3, 4)), 0.0);
  EXPECT_EQ(to_string(x.device()), "cpu (counted)");
}

TEST(Copy, WhatDoesNotFitIsRefused) {
  EXPECT_THROW(copy_into(zeros({2}, DType::f32), zeros({3}, DType::f32)), ShapeError);
  EXPECT_THROW(add_into(zeros({2}, DType::i64), zeros({2}, DType::i64)), ShapeError);
  EXPECT_THROW(add_into(zeros({2}, DType::f32), zeros({2}, DType::f64)), ShapeError);
}

}  // namespace
}  // namespace trident
