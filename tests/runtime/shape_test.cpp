#include "runtime/ops/shape.h"

#include "runtime/autograd/tape.h"
#include "runtime/error.h"
#include "runtime/ops/elementwise.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "tests/support/gradcheck.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_near.h"

namespace trident {
namespace {

using testing::gradcheck_on_every_device;
using testing::random_tensor;

Tensor count_to(const Shape& shape) {
  std::vector<double> values(static_cast<std::size_t>(numel(shape)));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<double>(i);
  return from_values(shape, values);
}

Tensor numbers(const Shape& shape, const std::vector<double>& values) { return from_values(shape, values); }

TEST(Shape, ReshapeSharesMemoryAndInfersOneExtent) {
  const Tensor x = count_to({2, 6}), y = reshape(x, {3, -1});
  EXPECT_EQ(y.shape(), (Shape{3, 4}));
  EXPECT_EQ(y.data<double>(), x.data<double>());
  EXPECT_TENSOR_NEAR(reshape(permute(x, {1, 0}), {3, 4}), numbers({3, 4}, {0, 6, 1, 7, 2, 8, 3, 9, 4, 10, 5, 11}), 0);
  EXPECT_THROW(reshape(x, {5, -1}), ShapeError);
  EXPECT_THROW(reshape(x, {-1, -1}), ShapeError);
  EXPECT_THROW(reshape(x, {5, 2}), ShapeError);
  EXPECT_TRUE(gradcheck_on_every_device([](const auto& in) { return reshape(in[0], {6, 2}); }, {random_tensor({3, 4}, 1)}));
}

TEST(Shape, PermuteIsAView) {
  const Tensor x = count_to({2, 3}), y = permute(x, {1, 0});
  EXPECT_EQ(y.data<double>(), x.data<double>());
  EXPECT_TENSOR_NEAR(y, numbers({3, 2}, {0, 3, 1, 4, 2, 5}), 0);
  EXPECT_THROW(permute(x, {0, 0}), ShapeError);
  EXPECT_THROW(permute(x, {0}), ShapeError);
  EXPECT_TRUE(gradcheck_on_every_device(
      [](const auto& in) {
        return permute(in[0], {2, 0, 1}) * permute(in[0], {2, 0, 1});
      },
      {random_tensor({2, 3, 4}, 1)}));
}

TEST(Shape, SliceAndItsGradientInsideZeros) {
  const Tensor x = count_to({2, 4});
  EXPECT_TENSOR_NEAR(slice(x, -1, 1, 3), numbers({2, 2}, {1, 2, 5, 6}), 0);
  EXPECT_THROW(slice(x, 1, 2, 5), ShapeError);
  EXPECT_THROW(slice(x, 2, 0, 1), ShapeError);
  EXPECT_TRUE(gradcheck_on_every_device([](const auto& in) { return slice(in[0], 1, 1, 3); }, {random_tensor({2, 4, 3}, 1)}));
}

TEST(Shape, ContiguousKeepsWhatIsAlready) {
  const Tensor x = count_to({2, 3});
  EXPECT_EQ(contiguous(x).data<double>(), x.data<double>());
  EXPECT_TRUE(contiguous(permute(x, {1, 0})).is_contiguous());
  EXPECT_TRUE(gradcheck_on_every_device([](const auto& in) { return contiguous(permute(in[0], {1, 0})); }, {random_tensor({2, 3}, 1)}));
}

TEST(Shape, ConcatenateAlongAnyDimension) {
  EXPECT_TENSOR_NEAR(concatenate({count_to({1, 2}), count_to({2, 2})}, 0), numbers({3, 2}, {0, 1, 0, 1, 2, 3}), 0);
  EXPECT_TENSOR_NEAR(concatenate({count_to({2, 1}), count_to({2, 2})}, -1), numbers({2, 3}, {0, 0, 1, 1, 2, 3}), 0);
  EXPECT_THROW(concatenate({count_to({1, 2}), count_to({1, 3})}, 0), ShapeError);
  EXPECT_THROW(concatenate({}, 0), ShapeError);
  EXPECT_TRUE(gradcheck_on_every_device(
      [](const auto& in) {
        return concatenate({in[0], in[1], in[0]}, 1);
      },
      {random_tensor({2, 3}, 1), random_tensor({2, 2}, 2)}));
}

TEST(Shape, PadAddsZerosAndCrops) {
  const Tensor x = count_to({2, 3});
  EXPECT_TENSOR_NEAR(pad(x, 1, 1, 2), numbers({2, 6}, {0, 0, 1, 2, 0, 0, 0, 3, 4, 5, 0, 0}), 0);
  EXPECT_TENSOR_NEAR(pad(x, 0, -1, 1), numbers({2, 3}, {3, 4, 5, 0, 0, 0}), 0);
  EXPECT_TENSOR_NEAR(pad(x, 1, -1, -1), numbers({2, 1}, {1, 4}), 0);
  EXPECT_THROW(pad(x, 1, -2, -2), ShapeError);
  for (const auto& [before, after] : {std::pair{1, 2}, {-1, 2}, {2, -1}, {-1, -1}, {0, 0}}) {
    EXPECT_TRUE(gradcheck_on_every_device([before = before, after = after](const auto& in) { return pad(in[0], 1, before, after); },
                                          {random_tensor({2, 3, 2}, 1)}));
  }
}

TEST(Shape, RollMovesElementsForwardAndAround) {
  const Tensor x = count_to({1, 5});
  EXPECT_TENSOR_NEAR(roll(x, 1, 2), numbers({1, 5}, {3, 4, 0, 1, 2}), 0);
  EXPECT_TENSOR_NEAR(roll(x, 1, -1), numbers({1, 5}, {1, 2, 3, 4, 0}), 0);
  EXPECT_TENSOR_NEAR(roll(x, 1, 12), roll(x, 1, 2), 0);
  EXPECT_TRUE(gradcheck_on_every_device([](const auto& in) { return roll(in[0], 0, -1); }, {random_tensor({3, 4}, 1)}));
}

TEST(Shape, GatherPicksRowsAndItsGradientAddsRepeatedOnes) {
  const Tensor table = count_to({3, 2});
  const Tensor index = from_values<std::int64_t>({2, 2}, {2, 0, 0, 2});
  EXPECT_TENSOR_NEAR(gather_rows(table, index), numbers({2, 2, 2}, {4, 5, 0, 1, 0, 1, 4, 5}), 0);
  EXPECT_TRUE(gradcheck_on_every_device([&](const auto& in) { return gather_rows(in[0], to_device(index, in[0].device())); },
                                        {random_tensor({3, 2}, 1)}));
  const Tensor rows = leaf(table);
  EXPECT_TENSOR_NEAR(gradients(gather_rows(rows, index), count_to({2, 2, 2}), {rows})[0], numbers({3, 2}, {6, 8, 0, 0, 6, 8}), 0);
}

TEST(Shape, GatherNamesTheIndexThatIsOutside) {
  try {
    gather_rows(count_to({3, 2}), from_values<std::int64_t>({2}, {1, 3}));
    FAIL();
  } catch (const ShapeError& error) {
    EXPECT_STREQ(error.what(), "gather_rows: index 3 at position 1 of (2,) is outside of the 3 rows");
  }
  EXPECT_THROW(gather_rows(count_to({3, 2}), from_values<std::int64_t>({1}, {-1})), ShapeError);
}

TEST(Shape, PatchesHaveTheChannelSlowest) {
  const Tensor x = count_to({1, 2, 2, 4});
  EXPECT_TENSOR_NEAR(patchify(x, 2), numbers({1, 1, 2, 8}, {0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15}), 0);
  const Tensor y = random_tensor({2, 3, 8, 12}, 1);
  EXPECT_TENSOR_NEAR(unpatchify(patchify(y, 4), 4), y, 0);
  EXPECT_TRUE(gradcheck_on_every_device([](const auto& in) { return patchify(in[0], 2); }, {random_tensor({2, 2, 4, 6}, 1)}));
  EXPECT_TRUE(gradcheck_on_every_device([](const auto& in) { return unpatchify(in[0], 2); }, {random_tensor({2, 2, 3, 8}, 1)}));
  EXPECT_THROW(patchify(x, 3), ShapeError);
  EXPECT_THROW(unpatchify(x, 3), ShapeError);
}

TEST(Shape, MergingGoesDownBeforeRight) {
  const Tensor x = count_to({1, 3, 3, 1});
  EXPECT_TENSOR_NEAR(merge_cells(x), numbers({1, 2, 2, 4}, {0, 3, 1, 4, 2, 5, 0, 0, 6, 0, 7, 0, 8, 0, 0, 0}), 0);
  EXPECT_TRUE(gradcheck_on_every_device([](const auto& in) { return merge_cells(in[0]); }, {random_tensor({2, 4, 2, 3}, 1)}));
  EXPECT_TRUE(gradcheck_on_every_device([](const auto& in) { return merge_cells(in[0]); }, {random_tensor({2, 3, 5, 2}, 1)}));
  EXPECT_THROW(merge_cells(count_to({3, 3, 1})), ShapeError);
}

TEST(Shape, SpreadingGoesRightBeforeDownAndCrops) {
  const Tensor x = count_to({1, 1, 2, 4});
  EXPECT_TENSOR_NEAR(spread_cells(x, 2, 4), numbers({1, 2, 4, 1}, {0, 1, 4, 5, 2, 3, 6, 7}), 0);
  EXPECT_TENSOR_NEAR(spread_cells(x, 1, 3), numbers({1, 1, 3, 1}, {0, 1, 4}), 0);
  EXPECT_TRUE(gradcheck_on_every_device([](const auto& in) { return spread_cells(in[0], 4, 6); }, {random_tensor({2, 2, 3, 8}, 1)}));
  EXPECT_TRUE(gradcheck_on_every_device([](const auto& in) { return spread_cells(in[0], 3, 5); }, {random_tensor({2, 2, 3, 8}, 1)}));
  EXPECT_THROW(spread_cells(x, 3, 4), ShapeError);
  EXPECT_THROW(spread_cells(count_to({1, 1, 2, 3}), 2, 4), ShapeError);
}

TEST(Shape, DropoutDependsOnTheGlobalElementAlone) {
  const RandomKey key(3);
  const Tensor ones = full({1000, 50}, 1.0, DType::f32), y = dropout(ones, 0.25, key);
  EXPECT_TENSOR_NEAR(dropout(slice(ones, 0, 0, 700), 0.25, key, 300 * 50), slice(y, 0, 300, 1000), 0);
  double kept = 0;
  for (const float value : to_host<float>(y)) {
    EXPECT_TRUE(value == 0.0F || value == 1.0F / 0.75F) << value;
    kept += value != 0.0F;
  }
  EXPECT_NEAR(kept / 50000, 0.75, 4 * 0.43 / 223.6);  // four standard deviations
}

TEST(Shape, DropoutOfProbabilityZeroIsTheIdentity) {
  const Tensor x = count_to({4});
  EXPECT_EQ(dropout(x, 0.0, RandomKey(1)).data<double>(), x.data<double>());
  EXPECT_THROW(dropout(x, 1.0, RandomKey(1)), ConfigError);
  EXPECT_TRUE(gradcheck_on_every_device([](const auto& in) { return dropout(in[0], 0.4, RandomKey(1), 5); }, {random_tensor({4, 5}, 1)}));
}

TEST(Dropout, OfABoxOfTokensIsThatOfTheWholeGrid) {
  const RandomKey key(4);
  const Tensor ones = full({3, 5, 6, 4}, 1.0, DType::f64), whole = dropout(ones, 0.4, key);
  const auto box_of = [](const Tensor& x) { return contiguous(slice(slice(slice(x, 0, 1, 3), 1, 2, 5), 2, 1, 4)); };
  const TokenPlaces places{
      .rows = 3, .columns = 3, .first_sample = 1, .first_row = 2, .first_column = 1, .grid_rows = 5, .grid_columns = 6};
  EXPECT_TENSOR_NEAR(dropout(box_of(ones), 0.4, key, places), box_of(whole), 0.0);
  TokenPlaces rest = places;
  rest.first = 7;  // consecutive tokens of the box
  const Tensor rows = slice(reshape(box_of(ones), {18, 4}), 0, 7, 15);
  EXPECT_TENSOR_NEAR(dropout(rows, 0.4, key, rest), contiguous(slice(reshape(box_of(whole), {18, 4}), 0, 7, 15)), 0.0);
}

}  // namespace
}  // namespace trident
