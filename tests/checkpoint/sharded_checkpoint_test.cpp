#include "checkpoint/sharded_checkpoint.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstring>
#include <limits>
#include <thread>

#include "checkpoint/manifest.h"
#include "runtime/error.h"
#include "runtime/tensor/create.h"
#include "tests/support/temporary_folder.h"

namespace trident {
namespace {

using testing::message_of;
using testing::read_bytes;
using testing::TemporaryFolder;
using testing::write_bytes;

namespace fs = std::filesystem;

/// The state of step `step`: every number is known.
TrainingState state_of(std::int64_t step) {
  TrainingState state;
  std::vector<float> weights(60);
  for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = static_cast<float>(step) + 0.1F * static_cast<float>(i);
  add_tensor(state, "weights/a", from_values<float>({6, 10}, weights));
  add_tensor(state, "moments/a", from_values<double>({2}, std::vector<double>{-0.0, std::numeric_limits<double>::denorm_min()}));
  add_tensor(state, "buffers/count", from_values<std::int64_t>({}, std::vector<std::int64_t>{step}));
  state.values = ConfigValue::map({{"step", step}, {"best", 0.1}});
  return state;
}

/// Tensors of the same shapes, with other numbers.
TrainingState blank() {
  TrainingState state = state_of(-1);
  for (StatePiece& piece : state.pieces) set_zero(piece.values);
  return state;
}

bool holds(const TrainingState& state, std::int64_t step) {
  const TrainingState expected = state_of(step);
  for (std::size_t i = 0; i < expected.pieces.size(); ++i) {
    const Tensor &a = state.pieces[i].values, &b = expected.pieces[i].values;
    if (std::memcmp(a.bytes(), b.bytes(), static_cast<std::size_t>(b.num_bytes())) != 0) return false;
  }
  return true;
}

/// The message of what loading throws.
std::string load_error(const fs::path& checkpoint) {
  return message_of<CheckpointError>([&] { load_checkpoint(checkpoint, blank().pieces); });
}

TEST(ShardedCheckpoint, GivesBackEveryBitAndTheDocument) {
  const TemporaryFolder folder;
  const fs::path saved = save_checkpoint(folder / "checkpoints", 400, state_of(400), Mesh());
  EXPECT_EQ(saved.filename(), "step-00000400");
  EXPECT_EQ(latest_checkpoint(folder / "checkpoints"), saved);
  const TrainingState state = blank();
  const ConfigValue values = load_checkpoint(saved, state.pieces);
  EXPECT_TRUE(holds(state, 400));
  EXPECT_EQ(values.find("step")->as_integer(), 400);
  EXPECT_EQ(values.find("best")->as_number(), 0.1);
}

TEST(ShardedCheckpoint, ThereIsNoneInAFolderThatIsNotThere) {
  const TemporaryFolder folder;
  EXPECT_EQ(latest_checkpoint(folder / "checkpoints"), std::nullopt);
  EXPECT_NE(load_error(folder / "checkpoints/step-00000001").find("no committed checkpoint"), std::string::npos);
}

TEST(ShardedCheckpoint, WithoutItsMarkerItDoesNotCount) {
  const TemporaryFolder folder;
  const fs::path first = save_checkpoint(folder.path(), 1, state_of(1), Mesh());
  const fs::path second = save_checkpoint(folder.path(), 2, state_of(2), Mesh());
  fs::remove(second / "COMMITTED");
  EXPECT_EQ(latest_checkpoint(folder.path()), first);
  EXPECT_NE(load_error(second).find("no committed checkpoint"), std::string::npos);
  EXPECT_EQ(save_checkpoint(folder.path(), 2, state_of(2), Mesh()), second);
  EXPECT_EQ(load_error(second), "");
}

TEST(ShardedCheckpoint, ADamagedLastOneIsNotPassedOverInSilence) {
  const TemporaryFolder folder;
  const fs::path first = save_checkpoint(folder.path(), 1, state_of(1), Mesh());
  const fs::path unfinished = save_checkpoint(folder.path(), 2, state_of(2), Mesh());
  const fs::path last = save_checkpoint(folder.path(), 3, state_of(3), Mesh());
  fs::remove(unfinished / "COMMITTED");
  const std::string advice = "remove " + last.string() + " to go on from " + first.string();
  for (const char* name : {"manifest.json", "part-00000.safetensors"}) {
    const std::string bytes = read_bytes(last / name);
    for (const std::string& damaged : {bytes.substr(0, bytes.size() / 2), bytes.substr(0, bytes.size() - 1) + '!'}) {
      write_bytes(last / name, damaged);
      EXPECT_EQ(latest_checkpoint(folder.path()), last);
      EXPECT_NE(load_error(last).find(advice), std::string::npos) << name << ": " << load_error(last);
    }
    fs::remove(last / name);
    EXPECT_NE(load_error(last).find(advice), std::string::npos) << name << ": " << load_error(last);
    write_bytes(last / name, bytes);
  }
  EXPECT_EQ(load_error(last), "");
  fs::remove(first / "part-00000.safetensors");
  EXPECT_NE(load_error(first).find("to start anew: there is no earlier one"), std::string::npos) << load_error(first);
}

TEST(ShardedCheckpoint, NoFlippedBitGoesUnnoticed) {
  const TemporaryFolder folder;
  const fs::path saved = save_checkpoint(folder.path(), 1, state_of(1), Mesh());
  for (const char* name : {"COMMITTED", "manifest.json", "part-00000.safetensors"}) {
    const std::string bytes = read_bytes(saved / name);
    for (std::size_t at = 0; at < bytes.size(); at += 1 + bytes.size() / 40) {
      std::string flipped = bytes;
      flipped[at] = static_cast<char>(flipped[at] ^ 4);
      write_bytes(saved / name, flipped);
      const TrainingState state = blank();
      try {
        load_checkpoint(saved, state.pieces);
        EXPECT_TRUE(holds(state, 1)) << name << " byte " << at;  // a byte that carries nothing: the padding of a header
      } catch (const CheckpointError&) {
      }
    }
    write_bytes(saved / name, bytes);
  }
  EXPECT_EQ(load_error(saved), "");
}

TEST(ShardedCheckpoint, TruncatedFilesAreNamed) {
  const TemporaryFolder folder;
  const fs::path saved = save_checkpoint(folder.path(), 1, state_of(1), Mesh());
  for (const char* name : {"COMMITTED", "manifest.json", "part-00000.safetensors"}) {
    const std::string bytes = read_bytes(saved / name);
    for (const std::size_t length : {std::size_t{0}, bytes.size() / 2, bytes.size() - 1}) {
      write_bytes(saved / name, bytes.substr(0, length));
      EXPECT_NE(load_error(saved).find(std::string(name).starts_with("part") ? name : "step-00000001"), std::string::npos)
          << name << length;
    }
    write_bytes(saved / name, bytes);
  }
  fs::remove(saved / "part-00000.safetensors");
  EXPECT_NE(load_error(saved).find("part-00000.safetensors"), std::string::npos);
}

TEST(ShardedCheckpoint, GivesTheRealPartsOfComplexNumbersToWhoKeepsThemAlone) {
  const TemporaryFolder folder;
  TrainingState complex_state, real_state;
  add_tensor(complex_state, "moments/a", from_values<c64>({3}, std::vector<c64>{{1.5F, 0.0F}, {-2.0F, 0.0F}, {0.25F, 0.0F}}));
  add_tensor(real_state, "moments/a", zeros({3}, DType::f32));
  load_checkpoint(save_checkpoint(folder.path(), 1, complex_state, Mesh()), real_state.pieces);
  EXPECT_EQ(to_host<float>(real_state.pieces[0].values), (std::vector{1.5F, -2.0F, 0.25F}));
}

TEST(ShardedCheckpoint, ListsAllTensorsThatDoNotFit) {
  const TemporaryFolder folder;
  const fs::path saved = save_checkpoint(folder.path(), 1, state_of(1), Mesh());
  TrainingState other;
  add_tensor(other, "weights/a", zeros({6, 11}, DType::f32));
  add_tensor(other, "moments/a", zeros({2}, DType::f32));
  add_tensor(other, "weights/b", zeros({1}, DType::f32));
  const std::string message = message_of<CheckpointError>([&] { load_checkpoint(saved, other.pieces); });
  for (const char* line : {"weights/a: saved f32(6, 10), wanted f32(6, 11)", "moments/a: saved f64(2,), wanted f32(2,)",
                           "missing: weights/b", "surplus: buffers/count"}) {
    EXPECT_NE(message.find(line), std::string::npos) << message;
  }
}

TEST(ShardedCheckpoint, OfAnotherModelListsTheFirstTensorsAndHowManyMore) {
  const TemporaryFolder folder;
  const fs::path saved = save_checkpoint(folder.path(), 1, state_of(1), Mesh());
  TrainingState other;
  for (int layer = 0; layer < 100; ++layer) add_tensor(other, concat("weights/layer", layer), zeros({1}, DType::f32));
  const std::string message = message_of<CheckpointError>([&] { load_checkpoint(saved, other.pieces); });
  EXPECT_NE(message.find("\n  missing: weights/layer7\n  and "), std::string::npos) << message;
  EXPECT_EQ(message.find("weights/layer8"), std::string::npos) << message;
}

TEST(ShardedCheckpoint, PruningKeepsTheLastOnesAndNeverTheOnlyGoodOneGoes) {
  const TemporaryFolder folder;
  for (const std::int64_t step : {1, 2, 10, 20}) save_checkpoint(folder.path(), step, state_of(step), Mesh());
  fs::remove(folder / "step-00000020" / "COMMITTED");
  fs::create_directory(folder / ".step-00000030.tmp");
  prune_checkpoints(folder.path(), 2);
  const auto left = list_checkpoints(folder.path());
  ASSERT_EQ(left.size(), 2U);
  EXPECT_EQ(left[0].step, 2);
  EXPECT_EQ(left[1].step, 10);
  EXPECT_FALSE(fs::exists(folder / ".step-00000030.tmp"));
  prune_checkpoints(folder.path(), 0);
  EXPECT_EQ(latest_checkpoint(folder.path()), folder / "step-00000010");
}

TEST(ShardedCheckpoint, SavingFirstMakesRoomOfWhatAnInterruptedOneLeft) {
  const TemporaryFolder folder;
  fs::create_directory(folder / ".step-00000030.tmp");
  write_bytes(folder / ".step-00000030.tmp" / "part-00000.safetensors", "half of it");
  save_checkpoint(folder.path(), 40, state_of(40), Mesh());
  EXPECT_FALSE(fs::exists(folder / ".step-00000030.tmp"));
}

TEST(ShardedCheckpoint, OtherFilesOfTheFolderStay) {
  const TemporaryFolder folder;
  save_checkpoint(folder.path(), 1, state_of(1), Mesh());
  fs::create_directory(folder / "step-abc");
  write_bytes(folder / "step-00000009", "a file");
  prune_checkpoints(folder.path(), 1);
  EXPECT_TRUE(fs::exists(folder / "step-abc"));
  EXPECT_TRUE(fs::exists(folder / "step-00000009"));
}

TEST(ShardedCheckpoint, AManifestCannotLeadOutOfItsFolder) {
  const TemporaryFolder folder;
  const fs::path saved = save_checkpoint(folder.path(), 1, state_of(1), Mesh());
  std::string text = read_bytes(saved / "manifest.json");
  const std::string file = "part-00000.safetensors";
  text.replace(text.find(file), file.size(), "../" + file);
  EXPECT_THROW(parse_manifest(text, "manifest.json"), CheckpointError);
}

TEST(ShardedCheckpoint, SurvivesBeingKilledWhileSaving) {
  const TemporaryFolder folder;
  for (int round = 0; round < 8; ++round) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      for (std::int64_t step = 1;; ++step) {
        save_checkpoint(folder.path(), step, state_of(step), Mesh());
        prune_checkpoints(folder.path(), 1);
      }
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20 + 7 * round));
    ASSERT_EQ(::kill(child, SIGKILL), 0);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status));
    const auto latest = latest_checkpoint(folder.path());
    if (!latest) continue;  // killed before the first one
    const TrainingState state = blank();
    const ConfigValue values = load_checkpoint(*latest, state.pieces);
    EXPECT_TRUE(holds(state, values.find("step")->as_integer()));
  }
  EXPECT_NE(latest_checkpoint(folder.path()), std::nullopt);
}

}  // namespace
}  // namespace trident
