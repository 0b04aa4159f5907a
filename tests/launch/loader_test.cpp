#include "launch/data/loader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "runtime/error.h"
#include "runtime/tensor/create.h"
#include "tests/launch/data_files.h"
#include "tests/support/temporary_folder.h"

namespace trident {
namespace {

using testing::message_of;
using testing::TemporaryFolder;
using Samples = std::vector<std::int64_t>;

class LoaderTest : public ::testing::Test {
 protected:
  /// `trajectories` steady samples whose first value is 4 times their number.
  std::shared_ptr<const Dataset> dataset(std::vector<std::int64_t> trajectories, std::vector<double> weights = {},
                                         std::int64_t damaged = -1) {
    std::vector<DataEntry> entries;
    for (std::size_t k = 0; k < trajectories.size(); ++k) {
      DataEntry& entry = entries.emplace_back();
      entry.path = (folder_ / ("x" + std::to_string(k) + ".h5")).string();
      entry.input = "x";
      entry.channels = {"a"};
      if (!weights.empty()) entry.weight = weights[k];
      testing::write_counting(entry.path, "x", {trajectories[k], 2, 2}, damaged);
    }
    return std::make_shared<const Dataset>(open_dataset({}, entries, Split::train, "data.train"));
  }

  /// The samples of one epoch, by global batch.
  static std::vector<Samples> epoch(const std::shared_ptr<const Dataset>& data, LoaderOptions options, std::int64_t number = 0) {
    options.epochs = number + 1;
    Loader loader(data, options, {number, 0});
    std::vector<Samples> batches;
    while (const auto batch = loader.next()) {
      batches.emplace_back();
      for (const MicroBatch& part : batch->micro_batches)
        batches.back().insert(batches.back().end(), part.samples.begin(), part.samples.end());
    }
    return batches;
  }

  static Samples joined(const std::vector<Samples>& batches) {
    Samples all;
    for (const Samples& batch : batches) all.insert(all.end(), batch.begin(), batch.end());
    return all;
  }

  TemporaryFolder folder_;
};

TEST_F(LoaderTest, GoesThroughEverySampleOnceAnEpochAndKeepsTheLastPartialBatch) {
  const auto data = dataset({10});
  EXPECT_EQ(epoch(data, {.global_batch_size = 4}), (std::vector<Samples>{{0, 1, 2, 3}, {4, 5, 6, 7}, {8, 9}}));
  Samples shuffled = joined(epoch(data, {.global_batch_size = 4, .seed = 1, .shuffle = true}));
  EXPECT_FALSE(std::is_sorted(shuffled.begin(), shuffled.end()));
  std::sort(shuffled.begin(), shuffled.end());
  EXPECT_EQ(shuffled, (Samples{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
}

TEST_F(LoaderTest, ShufflesBySeedAndEpoch) {
  const auto data = dataset({50});
  const LoaderOptions options{.global_batch_size = 50, .seed = 3, .shuffle = true};
  LoaderOptions other = options;
  other.seed = 4;
  EXPECT_EQ(epoch(data, options), epoch(data, options));
  EXPECT_NE(epoch(data, options), epoch(data, options, 1));
  EXPECT_NE(epoch(data, options), epoch(data, other));
}

TEST_F(LoaderTest, SharesTheSameBatchesOutOverAnyNumberOfRanksAndMicroBatches) {
  const auto data = dataset({23});
  const LoaderOptions whole{.global_batch_size = 7, .seed = 5, .shuffle = true};
  const std::vector<Samples> expected = epoch(data, whole);
  for (const int ranks : {2, 3, 4}) {
    for (const int parts : {1, 3}) {
      std::vector<Samples> together(expected.size());
      for (int rank = 0; rank < ranks; ++rank) {
        LoaderOptions options = whole;
        options.rank = rank, options.num_ranks = ranks, options.micro_batches = parts;
        const std::vector<Samples> mine = epoch(data, options);
        for (std::size_t k = 0; k < mine.size(); ++k) together[k].insert(together[k].end(), mine[k].begin(), mine[k].end());
      }
      EXPECT_EQ(together, expected) << ranks << " ranks, " << parts << " micro-batches";
    }
  }
}

TEST_F(LoaderTest, SaysWhereEachMicroBatchStandsInTheGlobalBatch) {
  const auto data = dataset({5});
  Loader loader(data, {.global_batch_size = 5, .micro_batches = 2, .rank = 1, .num_ranks = 2});
  const GlobalBatch batch = *loader.next();
  EXPECT_EQ(batch.size, 5);
  ASSERT_EQ(batch.micro_batches.size(), 2U);
  for (const MicroBatch& part : batch.micro_batches) {
    ASSERT_EQ(part.fields.input.size(0), 1);
    EXPECT_EQ(part.samples, Samples{part.first_sample});
    EXPECT_EQ(part.fields.input.data<float>()[0], 4.0F * static_cast<float>(part.first_sample));
  }
  EXPECT_EQ(batch.micro_batches[1].first_sample, 4);
}

TEST_F(LoaderTest, GivesRanksWithoutAPartEmptyBatches) {
  const auto data = dataset({1});
  Loader loader(data, {.global_batch_size = 4, .rank = 1, .num_ranks = 2});
  const GlobalBatch batch = *loader.next();
  EXPECT_EQ(batch.size, 1);
  EXPECT_EQ(batch.micro_batches[0].fields.input.shape(), (Shape{0, 1, 2, 2}));
}

TEST_F(LoaderTest, GivesTheSameNumbersInBothPrecisions) {
  const auto data = dataset({3});
  Loader single(data, {.global_batch_size = 3}), wide(data, {.global_batch_size = 3, .dtype = DType::f64});
  const Tensor a = single.next()->micro_batches[0].fields.input, b = wide.next()->micro_batches[0].fields.input;
  ASSERT_EQ(b.dtype(), DType::f64);
  for (std::int64_t k = 0; k < a.numel(); ++k) EXPECT_EQ(static_cast<double>(a.data<float>()[k]), b.data<double>()[k]);
}

TEST_F(LoaderTest, GoesOnFromAPositionAsIfItHadNotStopped) {
  const auto data = dataset({10});
  const LoaderOptions options{.global_batch_size = 4, .seed = 6, .shuffle = true};
  Loader loader(data, options);
  for (int step = 0; step < 4; ++step) loader.next();
  EXPECT_EQ(loader.position(), (LoaderPosition{1, 1}));
  Loader resumed(data, options, loader.position());
  for (int step = 0; step < 3; ++step) EXPECT_EQ(loader.next()->micro_batches[0].samples, resumed.next()->micro_batches[0].samples);
}

TEST_F(LoaderTest, DrawsFromEachSetByItsWeight) {
  const auto data = dataset({10, 30}, {3.0, 1.0});
  const Samples drawn = joined(epoch(data, {.global_batch_size = 8, .seed = 7, .shuffle = true}));
  std::map<std::int64_t, int> counts;
  for (const std::int64_t sample : drawn) ++counts[sample];
  EXPECT_EQ(drawn.size(), 40U);
  for (std::int64_t sample = 0; sample < 10; ++sample) EXPECT_EQ(counts[sample], 3) << sample;  // 30 draws of 10 samples
  EXPECT_EQ(std::count_if(drawn.begin(), drawn.end(), [](std::int64_t sample) { return sample >= 10; }), 10);
  for (std::int64_t sample = 10; sample < 40; ++sample) EXPECT_LE(counts[sample], 1) << sample;
}

TEST_F(LoaderTest, ReadsTheSameOnAnyNumberOfThreads) {
  const auto data = dataset({23});
  const auto numbers_of = [&](int threads) {
    Loader loader(data, {.global_batch_size = 9, .seed = 8, .shuffle = true, .epochs = 1, .threads = threads});
    std::vector<float> numbers;
    while (const auto batch = loader.next()) {
      const Tensor &input = batch->micro_batches[0].fields.input, &label = batch->micro_batches[0].fields.label;
      numbers.insert(numbers.end(), input.data<float>(), input.data<float>() + input.numel());
      numbers.insert(numbers.end(), label.data<float>(), label.data<float>() + label.numel());
    }
    return numbers;
  };
  const std::vector<float> expected = numbers_of(1);
  EXPECT_EQ(expected.size(), 23U * 8U);
  for (const int threads : {2, 5, 16}) EXPECT_EQ(numbers_of(threads), expected) << threads;
  EXPECT_THAT(message_of<ConfigError>([&] { numbers_of(0); }), ::testing::HasSubstr("reading threads 0"));
}

TEST_F(LoaderTest, HandsOnWhatTheReadingThreadsMet) {
  const auto data = dataset({8}, {}, 4 * 5);
  for (const int threads : {1, 3}) {
    Loader loader(data, {.global_batch_size = 2, .threads = threads});
    EXPECT_TRUE(loader.next().has_value());
    EXPECT_TRUE(loader.next().has_value());
    EXPECT_THAT(message_of<DataError>([&] { loader.next(); }), ::testing::HasSubstr("trajectory 5"));
    EXPECT_THROW(loader.next(), DataError);
  }
}

TEST_F(LoaderTest, MayBeLeftWhileItReads) {
  const auto data = dataset({100});
  for (int times = 0; times < 20; ++times) Loader loader(data, {.global_batch_size = 3});
}

}  // namespace
}  // namespace trident
