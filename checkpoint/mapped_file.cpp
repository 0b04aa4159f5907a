#include "checkpoint/mapped_file.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <mutex>

#include "runtime/error.h"

namespace trident {
namespace {

/// A descriptor that is closed when the mapping has been made: the mapping does not need it.
struct Descriptor {
  int number;
  ~Descriptor() {
    if (number >= 0) ::close(number);
  }
};

/// A mapping as the signal handler finds it.
struct Watched {
  std::atomic<const std::byte*> begin = nullptr, end = nullptr;
  std::atomic<const char*> message = nullptr;  // null: the place is free
};

/// As many files as are watched at a time; others are mapped all the same.
std::array<Watched, 256> watched;
struct sigaction others;  // who handled SIGBUS before

/// Allowed to call only what is safe in the middle of any instruction.
void on_bus_error(int signal, siginfo_t* information, void*) {
  const auto* address = static_cast<const std::byte*>(information->si_addr);
  for (const Watched& place : watched) {
    const char* message = place.message;
    if (message == nullptr || address < place.begin || address >= place.end) continue;
    [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, message, std::strlen(message));
    ::_exit(1);
  }
  ::sigaction(signal, &others, nullptr);  // not ours: it goes where it would have gone without us
  ::raise(signal);
}

void watch(std::span<const std::byte> bytes, const char* message) {
  static std::once_flag installed;
  std::call_once(installed, [] {
    struct sigaction action {};
    action.sa_sigaction = on_bus_error;
    action.sa_flags = SA_SIGINFO;
    ::sigaction(SIGBUS, &action, &others);
  });
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  const auto place = std::ranges::find_if(watched, [](const Watched& each) { return each.message == nullptr; });
  if (place == watched.end()) return;
  place->begin = bytes.data();
  place->end = bytes.data() + bytes.size();
  place->message = message;
}

void stop_watching(const char* message) {
  const auto place = std::ranges::find_if(watched, [&](const Watched& each) { return each.message == message; });
  if (place != watched.end()) place->message = nullptr;
}

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& reason) {
  throw CheckpointError(concat(path.string(), ": cannot be read (", reason, "); give the path of an existing file"));
}

}  // namespace

std::shared_ptr<const MappedFile> MappedFile::open(const std::filesystem::path& path) {
  // Without O_NONBLOCK opening a FIFO would wait for a writer.
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  struct stat status {};
  if (file.number < 0 || ::fstat(file.number, &status) != 0) fail(path, std::strerror(errno));
  if (!S_ISREG(status.st_mode)) fail(path, S_ISDIR(status.st_mode) ? "it is a folder" : "it is no regular file");
  const auto size = static_cast<std::size_t>(status.st_size);
  if (size == 0) return std::shared_ptr<const MappedFile>(new MappedFile({}, path));
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.number, 0);
  if (data == MAP_FAILED) fail(path, std::strerror(errno));
  return std::shared_ptr<const MappedFile>(new MappedFile({static_cast<const std::byte*>(data), size}, path));
}

MappedFile::MappedFile(std::span<const std::byte> bytes, const std::filesystem::path& path)
    : bytes_(bytes),
      lost_(concat("error: ", path.string(),
                   ": became shorter, or could not be read, while it was in use; write the file again and start anew\n")) {
  if (!bytes_.empty()) watch(bytes_, lost_.c_str());
}

MappedFile::~MappedFile() {
  if (bytes_.empty()) return;
  stop_watching(lost_.c_str());
  ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

}  // namespace trident
