#include "runtime/device/emulated_memory.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <vector>

namespace trident::emulation {
namespace {

constexpr std::size_t kPage = std::size_t{2} << 20;  // huge pages: opening and closing memory costs time for each page
constexpr std::size_t kAlignment = 256;              // as cudaMalloc's

void report_and_die(int, siginfo_t* fault, void*) {
  if (is_device_address(fault->si_addr)) {
    constexpr char kText[] = "emulated device: host code touched device memory; use to_host(), copy_into() or a kernel\n";
    [[maybe_unused]] const auto written = write(STDERR_FILENO, kText, sizeof kText - 1);
  }
  signal(SIGSEGV, SIG_DFL);  // the instruction runs again and ends the process as it would have
}

class Arena {
 public:
  Arena() {
    void* reserved = mmap(nullptr, kDeviceBytes + kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (reserved == MAP_FAILED) std::abort();
    const auto address = reinterpret_cast<std::uintptr_t>(reserved);
    base_ = reinterpret_cast<std::byte*>((address + kPage - 1) / kPage * kPage);
    madvise(base_, kDeviceBytes, MADV_HUGEPAGE);
    struct sigaction action {};
    action.sa_sigaction = report_and_die;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGSEGV, &action, nullptr);
  }

  void* allocate(std::size_t bytes) {
    const std::size_t size = rounded(bytes);
    const std::lock_guard lock(mutex_);
    std::byte* data = nullptr;
    if (auto& same = free_[size]; !same.empty()) {
      data = same.back();
      same.pop_back();
    } else if (size <= kDeviceBytes - used_) {
      data = base_ + used_;
      used_ += size;
      if (open_ > 0) protect(PROT_READ | PROT_WRITE);
    } else {
      return nullptr;
    }
    return data;
  }

  void release(void* data, std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    free_[rounded(bytes)].push_back(static_cast<std::byte*>(data));
  }

  void open() {
    const std::lock_guard lock(mutex_);
    if (open_++ == 0) protect(PROT_READ | PROT_WRITE);
  }

  void close() {
    const std::lock_guard lock(mutex_);
    if (--open_ == 0) protect(PROT_NONE);
  }

  bool contains(const void* address) const { return address >= base_ && address < base_ + kDeviceBytes; }

 private:
  static std::size_t rounded(std::size_t bytes) { return std::max(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment); }
  void protect(int access) {
    if (used_ > 0 && mprotect(base_, (used_ + kPage - 1) / kPage * kPage, access) != 0) std::abort();
  }

  std::mutex mutex_;
  std::byte* base_ = nullptr;
  std::size_t used_ = 0;
  int open_ = 0;
  std::map<std::size_t, std::vector<std::byte*>> free_;
};

Arena& arena() {
  static Arena& arena = *new Arena;  // never destroyed: tensors with static storage may outlive every other static object
  return arena;
}

}  // namespace

void* allocate(std::size_t bytes) {
  void* data = arena().allocate(bytes);
  if (data != nullptr) forget(data, bytes);
  return data;
}

void release(void* data, std::size_t bytes) { arena().release(data, bytes); }

void forget(void* data, std::size_t bytes) {
  const OpenMemory open;
  std::memset(data, 0xFF, bytes);
}

bool is_device_address(const void* address) { return arena().contains(address); }

bool is_host_address(std::uintptr_t word) {
  constexpr std::uintptr_t kLowest = std::uintptr_t{1} << 32, kHighest = std::uintptr_t{1} << 47, kSmallPage = 4096;
  if (word < kLowest || word >= kHighest || is_device_address(reinterpret_cast<const void*>(word))) return false;
  unsigned char resident = 0;
  return mincore(reinterpret_cast<void*>(word / kSmallPage * kSmallPage), 1, &resident) == 0;
}

void open() { arena().open(); }
void close() { arena().close(); }

}  // namespace trident::emulation
