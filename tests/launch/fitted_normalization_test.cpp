#include "launch/data/fitted_normalization.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "launch/physical_units.h"
#include "models/unit_gaussian.h"
#include "runtime/error.h"
#include "runtime/tensor/create.h"
#include "tests/launch/data_files.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tensor_near.h"

namespace trident {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::message_of;

constexpr std::int64_t kSamples = 300;  // more than the blocks that ranks share out

/// Samples of two channels of 2 x 3 points that count from 0 on.
class FittedNormalization : public ::testing::Test {
 protected:
  FittedNormalization() {
    testing::write_counting(folder / "x.h5", "x", {kSamples, 2, 2, 3});
    config.train.emplace_back();
    config.train[0].path = (folder / "x.h5").string();
    config.train[0].input = "x";
    config.train[0].channels = {"a", "b"};
    config.normalization = Normalization::fitted;
  }

  Dataset open() const { return open_dataset(config, config.train, Split::train, "data.train"); }
  static Tensor inputs(const Dataset& dataset) {
    const Tensor fields = empty({dataset.size(), 2, 2, 3}, DType::f32);
    std::vector<float> label(12);
    for (std::int64_t sample = 0; sample < dataset.size(); ++sample) {
      dataset.read(sample, {fields.data<float>() + sample * 12, label.data(), nullptr});
    }
    return fields;
  }

  testing::TemporaryFolder folder;
  DataConfig config;
};

TEST_F(FittedNormalization, HasMeanAndUnbiasedDeviationOfEachChannel) {
  const Dataset dataset = open();
  const Problem problem = fitted_problem(dataset, *make_self_communicator());
  // Channel 0 holds 12 s + p, channel 1 is 6 above, with s = 0..299 and p = 0..5.
  const double mean = 12.0 * 299.0 / 2.0 + 2.5;
  double squares = 0.0;
  for (int s = 0; s < 300; ++s) {
    for (int p = 0; p < 6; ++p) squares += (12.0 * s + p - mean) * (12.0 * s + p - mean);
  }
  const double std = std::sqrt(squares / (1800.0 - 1.0)) + 1e-7;
  for (const auto& channels : {problem.input, problem.output}) {
    EXPECT_NEAR(channels[0].mean, mean, 1e-9);
    EXPECT_NEAR(channels[1].mean, mean + 6.0, 1e-9);
    for (const Channel& channel : channels) EXPECT_NEAR(channel.std, std, 1e-9);
  }
}

TEST_F(FittedNormalization, GivesTheReferencesNumbers) {
  const Dataset dataset = open();
  UnitGaussian reference;
  reference.fit(inputs(dataset));
  const Dataset normalized = normalized_as(dataset, fitted_problem(dataset, *make_self_communicator()));
  EXPECT_TENSOR_NEAR(inputs(normalized), reference.encode(inputs(dataset)), 1e-6);
}

TEST_F(FittedNormalization, BecomesConstantsOfTheEntries) {
  const Dataset dataset = open();
  const Problem problem = fitted_problem(dataset, *make_self_communicator());
  give_constants(config, problem);
  EXPECT_EQ(config.normalization, Normalization::given);
  EXPECT_EQ(to_host<float>(inputs(open())), to_host<float>(inputs(normalized_as(dataset, problem))));
}

TEST_F(FittedNormalization, IsUndoneByPhysicalUnits) {
  const Dataset dataset = open();
  const Dataset normalized = normalized_as(dataset, fitted_problem(dataset, *make_self_communicator()));
  const PhysicalUnits physical(normalized, &Problem::input, 2, DType::f32);
  EXPECT_TENSOR_NEAR(physical(inputs(normalized)), inputs(dataset), 1e-6);
  EXPECT_EQ(to_host<float>(PhysicalUnits()(inputs(dataset))), to_host<float>(inputs(dataset)));
}

TEST_F(FittedNormalization, RefusesWhatHasConstants) {
  config.train[0].std = {1.0, 1.0};
  EXPECT_THAT(message_of<ConfigError>([&] { open(); }), AllOf(HasSubstr("data.train[0]"), HasSubstr("leave them out")));
  config.train[0].input.reset();
  config.train[0].problem = "NS-Sines";
  EXPECT_THAT(message_of<ConfigError>([&] { open(); }), HasSubstr("constants of its own"));
}

TEST_F(FittedNormalization, OfOtherChannelsIsRefused) {
  Problem problem = open().problem();
  problem.output.pop_back();
  EXPECT_THAT(message_of<ConfigError>([&] { normalized_as(open(), problem); }), HasSubstr("2 input and 1 output"));
}

TEST_F(FittedNormalization, PhysicalUnitsNeedTheSameConstantsInAllSets) {
  config.normalization = Normalization::given;
  config.train.push_back(config.train[0]);
  config.train[1].std = {1.0, 2.0};
  EXPECT_THAT(message_of<ConfigError>([&] { PhysicalUnits(open(), &Problem::output, 2, DType::f32); }),
              AllOf(HasSubstr("different constants"), HasSubstr("training.loss_units")));
}

}  // namespace
}  // namespace trident
