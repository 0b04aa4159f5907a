#include "checkpoint/atomic_file.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/error.h"
#include "tests/support/temporary_folder.h"

namespace trident {
namespace {

using testing::message_of;
using testing::read_bytes;
using testing::TemporaryFolder;
using testing::write_bytes;

namespace fs = std::filesystem;

int num_files(const fs::path& folder) { return static_cast<int>(std::distance(fs::directory_iterator(folder), fs::directory_iterator())); }

TEST(AtomicFile, KeepsTheOldFileUntilTheNewOneIsCommitted) {
  const TemporaryFolder folder;
  write_file_atomically(folder / "a", "old");
  AtomicFile file(folder / "a");
  file.write("new");
  EXPECT_EQ(read_bytes(folder / "a"), "old");
  EXPECT_EQ(read_bytes(file.temporary()), "new");
  file.commit();
  EXPECT_EQ(read_bytes(folder / "a"), "new");
  EXPECT_EQ(num_files(folder.path()), 1);
}

TEST(AtomicFile, LeavesNothingBehindWithoutACommit) {
  const TemporaryFolder folder;
  { AtomicFile(folder / "a").write("half"); }
  EXPECT_EQ(num_files(folder.path()), 0);
}

TEST(AtomicFile, WhatAKilledProcessLeftGoesWithTheNextWriterOfTheName) {
  const TemporaryFolder folder;
  const pid_t killed = ::fork();
  if (killed == 0) {
    AtomicFile file(folder / "a");
    file.write("half");
    ::raise(SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(killed, &status, 0), killed);
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(num_files(folder.path()), 1);
  write_bytes(folder / concat(".a.", killed, ".0.tmp.kept"), "of somebody else");
  write_file_atomically(folder / "b", "another name");
  EXPECT_EQ(num_files(folder.path()), 3);
  const AtomicFile living(folder / "a");
  write_file_atomically(folder / "a", "whole");
  EXPECT_EQ(read_bytes(folder / "a"), "whole");
  EXPECT_TRUE(fs::exists(living.temporary()));
  EXPECT_EQ(num_files(folder.path()), 4);  // a, b, the living writer's, somebody else's
}

TEST(AtomicFile, TakesWhatAnotherWriterPutUnderTheTemporaryName) {
  const TemporaryFolder folder;
  AtomicFile file(folder / "a");
  write_bytes(file.temporary(), "from a library");
  file.commit();
  EXPECT_EQ(read_bytes(folder / "a"), "from a library");
}

TEST(AtomicFile, ALinkStaysAndLeadsToTheNewFile) {
  const TemporaryFolder folder;
  fs::create_directory(folder / "far");
  write_bytes(folder / "far" / "a", "old");
  fs::create_symlink(folder / "far" / "a", folder / "link");
  write_file_atomically(folder / "link", "new");
  EXPECT_TRUE(fs::is_symlink(folder / "link"));
  EXPECT_EQ(read_bytes(folder / "far" / "a"), "new");
  EXPECT_EQ(num_files(folder / "far"), 1);
}

TEST(AtomicFile, NeverReplacesWhatIsNoFile) {
  const TemporaryFolder folder;
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  fs::create_directory(folder / "folder");
  EXPECT_NE(message_of<CheckpointError>([&] { AtomicFile(folder / "pipe"); }).find("no regular file"), std::string::npos);
  EXPECT_NE(message_of<CheckpointError>([&] { AtomicFile(folder / "folder"); }).find("is a folder"), std::string::npos);
  EXPECT_TRUE(fs::is_fifo(folder / "pipe"));
  EXPECT_EQ(num_files(folder.path()), 2);
}

TEST(AtomicFile, NamesTheFolderThatIsNotThere) {
  const TemporaryFolder folder;
  EXPECT_THROW(AtomicFile(folder / "missing/a"), CheckpointError);
  EXPECT_NE(message_of<CheckpointError>([&] { write_file_atomically(folder / "missing/a", ""); }).find("missing"), std::string::npos);
}

TEST(ReadTextFile, RefusesFilesThatAreMissingOrTooLarge) {
  const TemporaryFolder folder;
  write_bytes(folder / "a", "12345");
  EXPECT_EQ(read_text_file(folder / "a"), "12345");
  EXPECT_THROW(read_text_file(folder / "a", 4), CheckpointError);
  EXPECT_THROW(read_text_file(folder / "b"), CheckpointError);
}

}  // namespace
}  // namespace trident
