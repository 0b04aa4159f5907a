#include "launch/value_statistics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "runtime/tensor/create.h"

namespace trident {
namespace {

TEST(ValueStatistics, OfFourNumbersByHand) {
  ValueStatistics statistics;
  statistics.add(std::vector<double>{2.0, 4.0, 4.0, 6.0});
  EXPECT_EQ(statistics.minimum(), 2.0);
  EXPECT_EQ(statistics.maximum(), 6.0);
  EXPECT_EQ(statistics.mean(), 4.0);
  EXPECT_DOUBLE_EQ(statistics.deviation(), std::sqrt(2.0));
}

TEST(ValueStatistics, PartsGiveWhatTheWholeGives) {
  std::vector<double> whole;
  for (int i = 0; i < 1000; ++i) whole.push_back(1e6 + std::sin(i));
  ValueStatistics at_once, in_parts;
  at_once.add(whole);
  for (std::size_t i = 0; i < whole.size(); i += 7) in_parts.add(std::span(whole).subspan(i, std::min<std::size_t>(7, whole.size() - i)));
  EXPECT_NEAR(in_parts.mean(), at_once.mean(), 1e-9);
  EXPECT_NEAR(in_parts.deviation(), at_once.deviation(), 1e-9);
  EXPECT_NEAR(at_once.deviation(), std::sqrt(0.5), 1e-3);
}

TEST(ValueStatistics, CountsWhatIsNotFiniteApart) {
  ValueStatistics statistics;
  statistics.add(from_values<float>({4}, std::vector<float>{1.0F, NAN, INFINITY, 3.0F}));
  EXPECT_EQ(statistics.non_finite(), 2);
  EXPECT_EQ(statistics.mean(), 2.0);
  EXPECT_EQ(statistics.to_config().find("non_finite")->as_integer(), 2);
}

TEST(ValueStatistics, OfNothingHasNoNumbers) { EXPECT_TRUE(ValueStatistics().to_config().entries().empty()); }

TEST(ComplexStatistics, OfThreeNumbersByHand) {
  ComplexStatistics statistics;
  statistics.add(from_values<c64>({4}, std::vector<c64>{{0, 1}, {0, 3}, {3, 2}, {NAN, 0}}));
  const ConfigValue values = statistics.to_config();
  EXPECT_EQ(values.find("mean")->as_number(), 1.0);
  EXPECT_EQ(values.find("mean_imag")->as_number(), 2.0);
  EXPECT_DOUBLE_EQ(values.find("std")->as_number(), std::sqrt((2.0 + 2.0 + 4.0) / 3.0));
  EXPECT_EQ(values.find("min")->as_number(), 1.0);
  EXPECT_DOUBLE_EQ(values.find("max")->as_number(), std::sqrt(13.0));
  EXPECT_EQ(values.find("non_finite")->as_integer(), 1);
}

}  // namespace
}  // namespace trident
