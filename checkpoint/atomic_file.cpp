#include "checkpoint/atomic_file.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <vector>

#include "runtime/error.h"

namespace trident {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(const fs::path& path, const char* action, const char* advice) {
  throw CheckpointError(concat(path.string(), ": cannot ", action, " it (", std::strerror(errno), "); ", advice));
}

fs::path folder_of(const fs::path& path) { return path.has_parent_path() ? path.parent_path() : fs::path("."); }

/// The file that is to be replaced. A link stays, and leads to the new file; what is no file (a device, a pipe, a folder) was not meant.
fs::path target_of(const fs::path& path) {
  std::error_code none;
  const fs::path target = fs::is_symlink(path, none) && fs::exists(path, none) ? fs::canonical(path, none) : path;
  const fs::file_status status = fs::status(target, none);
  if (!fs::exists(status) || fs::is_regular_file(status)) return target;
  throw CheckpointError(concat(path.string(), ": is ", fs::is_directory(status) ? "a folder" : "no regular file", "; choose another name"));
}

/// Opens `path`, makes what it holds durable, and closes it.
void sync_path(const fs::path& path, int flags, const char* advice) {
  const int descriptor = ::open(path.c_str(), flags | O_CLOEXEC);
  if (descriptor < 0) fail(path, "open", advice);
  const int result = ::fsync(descriptor);
  const int reason = errno;
  ::close(descriptor);
  errno = reason;
  if (result != 0) fail(path, "fsync", advice);
}

/// Of `.NAME.PID.N.tmp`; 0 for any other file.
pid_t writer_of(const std::string& temporary, const std::string& name) {
  const std::string before = concat(".", name, ".");
  if (!temporary.starts_with(before) || !temporary.ends_with(".tmp")) return 0;
  int process = 0, number = 0, length = 0;
  const char* const rest = temporary.c_str() + before.size();
  const bool ours = std::sscanf(rest, "%d.%d.tmp%n", &process, &number, &length) == 2 && rest[length] == '\0';
  return ours ? process : 0;
}

/// Of processes that were killed while they wrote a file of this name. What cannot be removed harms nobody.
void remove_leftovers(const fs::path& path) {
  std::error_code ignored;
  std::vector<fs::path> leftovers;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_of(path), ignored)) {
    const pid_t writer = writer_of(entry.path().filename().string(), path.filename().string());
    if (writer > 0 && ::kill(writer, 0) != 0 && errno == ESRCH) leftovers.push_back(entry.path());
  }
  for (const fs::path& leftover : leftovers) fs::remove(leftover, ignored);
}

}  // namespace

AtomicFile::AtomicFile(const fs::path& path) : path_(target_of(path)) {
  remove_leftovers(path_);
  static std::atomic<int> count{0};
  do {
    temporary_ = folder_of(path_) / concat(".", path_.filename().string(), ".", ::getpid(), ".", count++, ".tmp");
    descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  } while (descriptor_ < 0 && errno == EEXIST);
  if (descriptor_ < 0)
    fail(path_, "create", errno == ENOENT ? "make its folder first" : "make the folder writable or choose another output");
}

AtomicFile::~AtomicFile() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  ::unlink(temporary_.c_str());
}

void AtomicFile::write(const void* data, std::size_t bytes) {
  constexpr std::size_t kLargestWrite = std::size_t{1} << 30;  // Linux writes at most 2 GiB a call
  const char* next = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t written = ::write(descriptor_, next, std::min(bytes, kLargestWrite));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail(temporary_, "write", "nothing was changed; free space on the file system");
    next += written;
    bytes -= static_cast<std::size_t>(written);
  }
}

void AtomicFile::reserve(std::uint64_t bytes) {
  if (bytes == 0) return;
  int result = 0;
  do {
    result = ::posix_fallocate(descriptor_, 0, static_cast<off_t>(bytes));
  } while (result == EINTR);
  errno = result;
  if (result != 0) fail(temporary_, "write", "nothing was changed; free space on the file system");
}

void AtomicFile::commit() {
  // Opened anew: the bytes may have been written by another library through the name.
  sync_path(temporary_, O_RDONLY, "nothing was changed");
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail(path_, "rename the finished file to", "nothing was changed");
  ::close(descriptor_);
  descriptor_ = -1;
  sync_directory(folder_of(path_));
}

void write_file_atomically(const fs::path& path, std::string_view contents) {
  AtomicFile file(path);
  file.write(contents);
  file.commit();
}

void sync_directory(const fs::path& directory) {
  sync_path(directory, O_RDONLY | O_DIRECTORY, "the files are complete, but may not survive a loss of power");
}

void make_folder(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) throw CheckpointError(concat(folder.string(), ": cannot be made (", error.message(), "); choose another folder"));
}

std::string read_text_file(const fs::path& path, std::size_t limit) {
  std::error_code error;
  const auto bytes = fs::file_size(path, error);
  if (error) throw CheckpointError(concat(path.string(), ": cannot be read (", error.message(), "); give the path of an existing file"));
  if (bytes > limit) {
    throw CheckpointError(concat(path.string(), ": has ", bytes, " bytes, at most ", limit, " are read; is this the right file?"));
  }
  std::string text(bytes, '\0');
  std::ifstream file(path, std::ios::binary);
  if (!file.read(text.data(), static_cast<std::streamsize>(bytes))) {
    throw CheckpointError(concat(path.string(), ": cannot be read to its end (", bytes, " bytes); check the file system"));
  }
  return text;
}

}  // namespace trident
