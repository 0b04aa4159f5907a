// A checkpoint saved by ranks that hold parts of tensors is read by ranks that hold other parts.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "checkpoint/atomic_file.h"
#include "checkpoint/box.h"
#include "checkpoint/model_directory.h"
#include "checkpoint/sharded_checkpoint.h"
#include "parallel/messages.h"
#include "parallel/range.h"
#include "runtime/error.h"
#include "runtime/tensor/create.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/test_world.h"

namespace trident {
namespace {

using testing::message_of;
using testing::TemporaryFolder;
using testing::world;

constexpr std::int64_t kRows = 5, kColumns = 7;

/// The box of a (5, 7) tensor whose element (y, x) is 10 y + x.
StatePiece piece_of(const Box& box, AxisSet replicated) {
  std::vector<double> values;
  for (std::int64_t y = box[0].first; y < box[0].last; ++y) {
    for (std::int64_t x = box[1].first; x < box[1].last; ++x) values.push_back(10.0 * static_cast<double>(y) + static_cast<double>(x));
  }
  return {"weights/a", {kRows, kColumns}, box, replicated, from_values<double>({static_cast<std::int64_t>(values.size())}, values)};
}

class Resharding : public ::testing::Test {
 protected:
  // All ranks use the folder of rank 0.
  void SetUp() override { path_ = broadcast_text(*world(), folder_.path().string(), 0); }
  void TearDown() override { barrier(*world()); }

  void expect_readable(const std::filesystem::path& checkpoint, const Box& box) {
    const StatePiece expected = piece_of(box, AxisSet::all());
    StatePiece actual = expected;
    actual.values = zeros(expected.values.shape(), DType::f64);
    load_checkpoint(checkpoint, {actual});
    EXPECT_EQ(to_host<double>(actual.values), to_host<double>(expected.values));
  }

  TemporaryFolder folder_;
  std::filesystem::path path_;
};

TEST_F(Resharding, PartsOfOneSplitFillEveryOther) {
  const int ranks = world()->size(), rank = world()->rank();
  const Mesh mesh(world(), {1, 1, 1, ranks});
  const Box rows{part_of(kRows, ranks, rank), {0, kColumns}}, columns{{0, kRows}, part_of(kColumns, ranks, rank)};
  TrainingState state;
  state.pieces.push_back(piece_of(rows, Axis::data | Axis::domain_y | Axis::domain_x));
  const auto saved = save_checkpoint(path_, 1, state, mesh);
  expect_readable(saved, rows);
  expect_readable(saved, columns);
  expect_readable(saved, {{0, kRows}, {0, kColumns}});
  expect_readable(saved, {{1, 4}, {2, 3}});
}

TEST_F(Resharding, WhatRanksHoldAlikeIsSavedOnce) {
  const Mesh mesh(world(), {world()->size(), 1, 1, 1});
  TrainingState state;
  state.pieces.push_back(piece_of({{0, kRows}, {0, kColumns}}, AxisSet::all()));
  const auto saved = save_checkpoint(path_, 1, state, mesh);
  expect_readable(saved, {{0, 2}, {0, 7}});
  int parts = 0;
  for (const auto& entry : std::filesystem::directory_iterator(saved)) parts += entry.path().extension() == ".safetensors";
  EXPECT_EQ(parts, 1);
}

TEST_F(Resharding, TensorsThatRanksHoldAlikeAreSharedOutOverThem) {
  const int ranks = world()->size();
  for (const MeshSizes& sizes : {MeshSizes{ranks, 1, 1, 1}, MeshSizes{1, ranks, 1, 1}, MeshSizes{1, 1, 1, ranks}}) {
    const Mesh mesh(world(), sizes);
    TrainingState state;
    for (int i = 0; i < 50; ++i) {
      state.pieces.push_back(piece_of({{0, kRows}, {0, kColumns}}, AxisSet::all()));
      state.pieces.back().name = concat("weights/", i);
    }
    const auto saved = save_checkpoint(path_ / concat(sizes[0], sizes[1]), 1, state, mesh);
    CheckpointReader reader(saved);
    std::set<std::string> files;
    for (const ManifestTensor& tensor : reader.manifest().tensors) {
      EXPECT_EQ(tensor.parts.size(), 1U) << tensor.name;
      files.insert(tensor.parts.front().file);
    }
    EXPECT_EQ(static_cast<int>(files.size()), std::min(ranks, 8));
    load_checkpoint(saved, state.pieces);
  }
}

TEST_F(Resharding, AGapBetweenThePartsIsNoticed) {
  TrainingState state;
  state.pieces.push_back(piece_of({{0, 3}, {0, kColumns}}, AxisSet::all()));
  const auto saved = save_checkpoint(path_, 1, state, Mesh(world(), {world()->size(), 1, 1, 1}));
  expect_readable(saved, {{0, 3}, {0, kColumns}});
  StatePiece whole = piece_of({{0, kRows}, {0, kColumns}}, AxisSet::all());
  EXPECT_NE(message_of<CheckpointError>([&] { load_checkpoint(saved, {whole}); }).find("21 of 35 elements"), std::string::npos);
}

std::string bytes_of(const std::filesystem::path& path) { return read_text_file(path); }

TEST_F(Resharding, AModelWhoseTensorsAreSplitIsWrittenAsOneRankWritesIt) {
  const int ranks = world()->size();
  for (const char* variant : {"current", "v0_3"}) {
    for (const char* type : {"fno", "tfno"}) {
      const ConfigValue config = ConfigValue::map({{"type", type},
                                                   {"n_modes", ConfigValue::list({8, 8})},
                                                   {"in_channels", 1},
                                                   {"out_channels", 1},
                                                   {"hidden_channels", 6},
                                                   {"n_layers", 2},
                                                   {"block_variant", variant},
                                                   {"positional_embedding", ConfigValue()}});
      const auto save = [&](const std::string& name, const Mesh& mesh) {
        const Model model = describe_model(config, mesh);
        const ParameterList parameters = materialize(model, DType::f32, Use::inference, RandomKey(3));
        save_model(path_ / name, model, parameters, mesh);
      };
      if (world()->rank() == 0) save("whole", Mesh());
      for (const MeshSizes& sizes : {MeshSizes{1, 1, 1, ranks}, MeshSizes{1, ranks, 1, 1}}) {
        save("split", Mesh(world(), sizes));
        if (world()->rank() != 0) continue;
        for (const char* file : {"model.safetensors", "config.json"}) {
          EXPECT_EQ(bytes_of(path_ / "split" / file), bytes_of(path_ / "whole" / file)) << variant << type << file;
        }
      }
    }
  }
}

}  // namespace
}  // namespace trident
