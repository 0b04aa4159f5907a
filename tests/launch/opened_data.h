/// Data sets of the tests' own, opened and read.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <vector>

#include "launch/data/dataset.h"
#include "tests/launch/data_files.h"
#include "tests/support/temporary_folder.h"

namespace trident::testing {

inline DataEntry own_entry(const std::filesystem::path& path) {
  DataEntry entry;
  entry.path = path.string();
  entry.input = "x";
  entry.channels = {"a", "b"};
  return entry;
}

inline Dataset open_one(const DataEntry& entry, const DataConfig& config = {}) {
  return open_dataset(config, {entry}, Split::train, "data.train");
}

struct Sample {
  std::vector<float> input, label;
};

inline Sample read(const Dataset& dataset, std::int64_t index) {
  const auto points = static_cast<std::size_t>(dataset.points());
  Sample sample{std::vector<float>(static_cast<std::size_t>(dataset.in_channels()) * points),
                std::vector<float>(static_cast<std::size_t>(dataset.out_channels()) * points)};
  bool mask[8];
  dataset.read(index, {sample.input.data(), sample.label.data(), mask});
  return sample;
}

class DataFiles : public ::testing::Test {
 protected:
  TemporaryFolder folder;
};

}  // namespace trident::testing
