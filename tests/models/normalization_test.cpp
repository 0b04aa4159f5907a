#include "models/normalization.h"

#include <gtest/gtest.h>

#include "runtime/error.h"
#include "runtime/tensor/create.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_near.h"

namespace trident {
namespace {

const std::vector<Channel> kChannels{{.name = "p", .shift = 1.0, .mean = 0.5, .std = 2.0},
                                     {.name = "u", .value = 7.0, .mean = -1.0, .std = 0.5, .masked = true}};

TEST(Normalization, TakesShiftAndMeanAwayAndDividesPerChannel) {
  const Tensor x = from_values<double>({1, 2, 1, 2}, {1.5, 5.5, -1.0, 0.0});
  EXPECT_TENSOR_NEAR(normalize(x, kChannels), from_values<double>({1, 2, 1, 2}, {0.0, 2.0, 0.0, 2.0}), 1e-15);
}

TEST(Normalization, IsUndoneByDenormalization) {
  const Tensor x = testing::random_tensor({3, 2, 4, 5}, 1);
  EXPECT_TENSOR_NEAR(denormalize(normalize(x, kChannels), kChannels), x, 1e-15);
  const Tensor one = testing::random_tensor({2, 4, 5}, 2, DType::f32);
  EXPECT_TENSOR_NEAR(denormalize(normalize(one, kChannels), kChannels), one, 1e-6);
}

TEST(Normalization, RefusesFieldsOfOtherChannels) {
  EXPECT_THROW(normalize(zeros({1, 3, 2, 2}, DType::f32), kChannels), ShapeError);
  EXPECT_THROW(normalize(zeros({2, 2}, DType::f32), kChannels), ShapeError);
}

TEST(Normalization, FillsMaskedChannelsWithTheLoadersConstant) {
  const Tensor x = zeros({2, 2, 1, 2}, DType::f32);
  fill_masked_channels(x, kChannels);
  EXPECT_EQ(to_host<float>(x), (std::vector<float>{0, 0, 7, 7, 0, 0, 7, 7}));
}

TEST(Normalization, OfComplexFieldsHasComplexMeans) {
  const std::vector<Channel> channels{{.name = "psi", .mean = 1.0, .std = 2.0, .mean_imag = -1.0}};
  const Tensor x = from_values<c64>({1, 1, 2}, std::vector<c64>{{1, -1}, {5, 3}});
  const Tensor y = normalize(x, channels, 1);
  EXPECT_EQ(to_host<c64>(y), (std::vector<c64>{{0, 0}, {2, 2}}));
  EXPECT_EQ(to_host<c64>(denormalize(y, channels, 1)), to_host<c64>(x));
  std::vector<float> pairs{1, -1, 5, 3};
  normalize_pairs(channels.front(), pairs);
  EXPECT_EQ(pairs, (std::vector<float>{0, 0, 2, 2}));
}

}  // namespace
}  // namespace trident
