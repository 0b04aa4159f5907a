#include "launch/trainer/metrics.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

namespace trident {
namespace {

class Metrics : public testing::Test {
 protected:
  void TearDown() override { std::filesystem::remove(path_); }
  const std::filesystem::path path_ = std::filesystem::temp_directory_path() / concat("trident_metrics_", ::getpid(), ".jsonl");
};

ConfigValue step_row(std::int64_t step) { return ConfigValue::map({{"step", step}, {"loss", 0.1 + 0.2}}); }
ConfigValue evaluation_row(std::int64_t step) { return ConfigValue::map({{"step", step}, {"validation_loss", 1.0 / 3.0}}); }

TEST_F(Metrics, RowsReadBackWithAllTheirDigits) {
  MetricsFile(path_).append(step_row(0));
  MetricsFile(path_).append(evaluation_row(1));  // a second writer appends
  const std::vector<ConfigValue> rows = read_metrics(path_);
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].find("loss")->as_number(), 0.1 + 0.2);
  EXPECT_EQ(rows[1].find("validation_loss")->as_number(), 1.0 / 3.0);
}

TEST_F(Metrics, ARowThatWasCutOffIsNoRow) {
  MetricsFile(path_).append(step_row(0));
  std::ofstream(path_, std::ios::app) << "{\"step\": 1, \"lo";
  EXPECT_EQ(read_metrics(path_).size(), 1u);
}

TEST_F(Metrics, ARowWithoutItsStepIsNamed) {
  MetricsFile(path_).append(step_row(0));
  MetricsFile(path_).append(ConfigValue::map({{"loss", 0.5}}));
  try {
    drop_metrics_past(path_, 1);
    FAIL() << "it was read";
  } catch (const DataError& error) {
    EXPECT_NE(std::string(error.what()).find("row 2: has no step"), std::string::npos) << error.what();
  }
}

TEST_F(Metrics, ResumingDropsWhatLiesPastTheCheckpoint) {
  {
    MetricsFile file(path_);
    for (std::int64_t step = 0; step < 6; ++step) {
      file.append(step_row(step));
      if (step % 2 == 1) file.append(evaluation_row(step + 1));
    }
  }
  drop_metrics_past(path_, 4);
  std::vector<std::int64_t> steps;
  for (const ConfigValue& row : read_metrics(path_)) steps.push_back(row.find("step")->as_integer());
  EXPECT_EQ(steps, (std::vector<std::int64_t>{0, 1, 2, 2, 3, 4}));
}

TEST_F(Metrics, NoFileHasNoRows) { EXPECT_TRUE(read_metrics(path_).empty()); }

}  // namespace
}  // namespace trident
