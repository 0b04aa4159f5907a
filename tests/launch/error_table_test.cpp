#include "launch/error_table.h"

#include <gtest/gtest.h>

#include <cmath>

#include "runtime/tensor/create.h"

namespace trident {
namespace {

/// Two channels of two points, each a group; the labels of four samples sum to 2 and 4.
class Errors : public testing::Test {
 protected:
  static ErrorTable::Options options(LossDescription loss) {
    return {.groups = {{0, 1}, {1, 2}}, .group_names = {"u", "p"}, .loss = std::move(loss), .out_channels = 2, .points = 2};
  }
  static void add(ErrorTable& table, std::int64_t sample, double error_u, double error_p) {
    table.add({sample}, from_values<double>({1, 2, 1, 2}, {1 + error_u, 1, -2, 2 - error_p}),
              from_values<double>({1, 2, 1, 2}, {1, 1, -2, 2}));
  }
};

TEST_F(Errors, StatisticsOfFourSamplesByHand) {
  ErrorTable table(options({1, {{0, 1}, {1, 2}}}));
  add(table, 0, 0.2, 0.0);
  add(table, 1, 0.4, 0.0);
  add(table, 2, -0.6, 0.0);
  add(table, 3, 1.0, 0.0);
  const ConfigValue metrics = table.metrics(MetricsDetail::full);
  const auto number = [&](const char* name) { return metrics.find(name)->as_number(); };
  EXPECT_DOUBLE_EQ(number("u/mean_relative_l1_error"), 27.5);  // 10, 20, 30, 50 percent
  EXPECT_DOUBLE_EQ(number("u/median_relative_l1_error"), 25.0);
  EXPECT_NEAR(number("u/std_relative_l1_error"), std::sqrt((17.5 * 17.5 + 7.5 * 7.5 + 2.5 * 2.5 + 22.5 * 22.5) / 4), 1e-12);
  EXPECT_DOUBLE_EQ(number("u/min_relative_l1_error"), 10.0);
  EXPECT_DOUBLE_EQ(number("u/max_relative_l1_error"), 50.0);
  EXPECT_DOUBLE_EQ(number("p/mean_relative_l1_error"), 0.0);
  EXPECT_DOUBLE_EQ(number("mean_relative_l1_error"), 13.75);
  EXPECT_DOUBLE_EQ(number("mean_over_median_relative_l1_error"), 12.5);
  EXPECT_DOUBLE_EQ(number("u/mean_l1_error"), 0.55);
  EXPECT_DOUBLE_EQ(metrics.find("u/full_data")->elements()[2].as_number(), 0.6);
  EXPECT_EQ(table.metrics(MetricsDetail::summary).find("u/mean_l1_error"), nullptr);
}

TEST_F(Errors, ALabelOfZeroDividesByASmallNumber) {
  ErrorTable table({.groups = {{0, 1}}, .group_names = {"u"}, .loss = {}, .out_channels = 1, .points = 1});
  table.add({0}, from_values<float>({1, 1, 1, 1}, {1e-10F}), from_values<float>({1, 1, 1, 1}, {0.0F}));
  EXPECT_NEAR(table.metrics(MetricsDetail::summary).find("u/max_relative_l1_error")->as_number(), 100.0, 1e-4);
}

TEST_F(Errors, LossesAreRatiosOfBatchSums) {
  ErrorTable relative(options({1, {{0, 1}, {1, 2}}})), squared(options({2, {{0, 2}}})), absolute(options({1, {}}));
  for (ErrorTable* table : {&relative, &squared, &absolute}) {
    add(*table, 0, 0.2, 0.0);
    add(*table, 1, 0.4, 0.4);
    add(*table, 2, 0.6, 0.0);
  }
  EXPECT_NEAR(relative.loss(), 0.5 * (1.2 / 6 + 0.4 / 12), 1e-9);
  EXPECT_NEAR(squared.loss(), (0.04 + 0.16 + 0.16 + 0.36) / 30, 1e-9);
  EXPECT_NEAR(absolute.loss(), (0.2 + 0.4 + 0.4 + 0.6) / 12, 1e-12);
  // Batches of two and one.
  EXPECT_NEAR(relative.loss_of_batches(2), (2 * 0.5 * (0.6 / 4 + 0.4 / 8) + 1 * 0.5 * (0.6 / 2)) / 3, 1e-9);
}

TEST_F(Errors, RowsAreOrderedBySample) {
  ErrorTable table(options({1, {}}));
  add(table, 1, 0.4, 0.0);
  add(table, 0, 0.2, 0.0);
  table.gather();
  const ConfigValue metrics = table.metrics(MetricsDetail::full);
  EXPECT_DOUBLE_EQ(metrics.find("u/full_data")->elements()[0].as_number(), 0.2);
  EXPECT_EQ(table.num_samples(), 2);
}

TEST_F(Errors, AnOutputOfAnotherShapeIsRefused) {
  ErrorTable table(options({1, {}}));
  EXPECT_THROW(table.add({0}, zeros({1, 2, 1, 2}, DType::f32), zeros({1, 2, 2, 2}, DType::f32)), ShapeError);
}

}  // namespace
}  // namespace trident
