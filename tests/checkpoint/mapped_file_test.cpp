#include "checkpoint/mapped_file.h"

#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>

#include "tests/support/temporary_folder.h"

namespace trident {
namespace {

using testing::TemporaryFolder;
using testing::write_bytes;

/// Ends the process one way or the other.
[[noreturn]] void read_what_is_gone(const std::filesystem::path& path) {
  write_bytes(path, std::string(1 << 16, 'x'));
  const auto other = MappedFile::open(path), file = MappedFile::open(path);
  std::filesystem::resize_file(path, 10);
  std::exit(std::to_integer<int>(file->bytes()[1 << 15]));
}

[[noreturn]] void fail_elsewhere(const std::filesystem::path& path) {
  write_bytes(path, "some");
  const auto file = MappedFile::open(path);
  std::raise(SIGBUS);
  std::exit(0);
}

TEST(MappedFileDeathTest, AFileThatBecomesShorterEndsTheProcessWithAnErrorThatNamesIt) {
  const TemporaryFolder folder;
  EXPECT_EXIT(read_what_is_gone(folder / "weights.bin"), ::testing::ExitedWithCode(1), "error: .*weights.bin: became shorter");
}

TEST(MappedFileDeathTest, OtherFaultsAreNotTakenForTheFiles) {
  const TemporaryFolder folder;
  EXPECT_DEATH(fail_elsewhere(folder / "weights.bin"), "");
}

}  // namespace
}  // namespace trident
