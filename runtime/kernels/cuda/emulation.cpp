#include "runtime/kernels/cuda/emulation.h"

#include <algorithm>
#include <bit>
#include <boost/context/fiber.hpp>
#include <boost/context/protected_fixedsize_stack.hpp>
#include <cstdlib>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/device/cuda_driver.h"
#include "runtime/device/emulated_memory.h"
#include "runtime/error.h"

namespace trident::emulation {

constinit thread_local const Place* current_place = nullptr;

namespace {

constexpr std::size_t kStackBytes = 256 << 10;

std::string text_of(std::source_location where) {
  const std::string file = where.file_name();
  return concat(file.substr(file.rfind('/') + 1), ":", where.line());
}
std::string text_of(const uint3& index) { return concat("(", index.x, ", ", index.y, ", ", index.z, ")"); }

/// Whether threads and blocks run in the other order: what one order hides (a missing barrier, a block that counts on those before it) the
/// other one shows.
bool is_reversed() {
  static const bool reversed = [] {
    const char* order = std::getenv("TRIDENT_EMULATED_ORDER");
    return order != nullptr && std::string_view(order) == "reversed";
  }();
  return reversed;
}

struct PendingCopy {
  void* to;
  const void* from;
  std::size_t bytes, filled;
};

struct Thread {
  enum class State { ready, at_barrier, at_warp, done };

  State state = State::done;
  Place place;
  std::source_location where;  // of the barrier or warp operation that it waits at
  unsigned mask = 0;
  WarpOperation operation = nullptr;
  void* argument = nullptr;
  std::deque<std::vector<PendingCopy>> copies;  // groups; the last one is open
  boost::context::fiber fiber, scheduler;
};

/// Runs blocks one after the other on the calling thread of the host.
class BlockRunner {
 public:
  ~BlockRunner() {
    stopping_ = true;
    for (auto& thread : threads_) {
      if (thread->fiber) thread->fiber = std::move(thread->fiber).resume();
    }
  }

  void run(const Place& block, std::size_t shared_bytes, const std::function<void()>& kernel) {
    kernel_ = &kernel;
    shared_.assign(shared_bytes + kSharedAlignment, std::byte{0xFF});
    count_ = block.threads.x * block.threads.y * block.threads.z;
    while (threads_.size() < count_) threads_.push_back(make_thread());
    unsigned index = 0;
    for (unsigned z = 0; z < block.threads.z; ++z) {
      for (unsigned y = 0; y < block.threads.y; ++y) {
        for (unsigned x = 0; x < block.threads.x; ++x) {
          Thread& thread = *threads_[index++];
          thread.place = block;
          thread.place.thread = {x, y, z};
          thread.state = Thread::State::ready;
          thread.copies.assign(1, {});
        }
      }
    }
    schedule();
  }

  Thread& current() { return *current_; }
  std::byte* shared() {
    const auto address = reinterpret_cast<std::uintptr_t>(shared_.data());
    return shared_.data() + (kSharedAlignment - address % kSharedAlignment) % kSharedAlignment;
  }

  /// Suspends the running thread until what it waits for has happened.
  void wait(Thread::State state) {
    Thread& thread = *current_;
    thread.state = state;
    thread.scheduler = std::move(thread.scheduler).resume();
    if (stopping_ || error_) throw Abandoned{};
  }

  /// A thread of the running thread's warp, null past the end of the block.
  Thread* in_warp(int lane) {
    const std::size_t index = index_ / 32 * 32 + static_cast<std::size_t>(lane);
    return index < count_ ? threads_[index].get() : nullptr;
  }

 private:
  struct Abandoned {};
  static constexpr std::size_t kSharedAlignment = 128;

  std::unique_ptr<Thread> make_thread() {
    auto made = std::make_unique<Thread>();
    Thread* thread = made.get();
    thread->fiber = boost::context::fiber(std::allocator_arg, boost::context::protected_fixedsize_stack(kStackBytes),
                                          [this, thread](boost::context::fiber&& scheduler) {
                                            thread->scheduler = std::move(scheduler);
                                            while (!stopping_) live(*thread);
                                            return std::move(thread->scheduler);
                                          });
    return made;
  }

  /// A thread's life in one block.
  void live(Thread& thread) {
    try {
      if (!error_) (*kernel_)();
    } catch (const Abandoned&) {
    } catch (const boost::context::detail::forced_unwind&) {
      throw;
    } catch (...) {
      if (!error_) error_ = std::current_exception();
    }
    thread.state = Thread::State::done;
    if (!stopping_) thread.scheduler = std::move(thread.scheduler).resume();
  }

  void schedule() {
    error_ = nullptr;
    while (true) {
      bool moved = false;
      for (std::size_t step = 0; step < count_; ++step) {
        index_ = is_reversed() ? count_ - 1 - step : step;
        Thread& thread = *threads_[index_];
        if (error_ ? thread.state == Thread::State::done : thread.state != Thread::State::ready) continue;
        resume(thread);
        moved = true;
      }
      if (moved) continue;
      if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
      if (!release_barrier()) return;
    }
  }

  void resume(Thread& thread) {
    current_ = &thread;
    current_place = &thread.place;
    thread.state = Thread::State::ready;
    thread.fiber = std::move(thread.fiber).resume();
    current_place = nullptr;
  }

  /// No thread can go on by itself: lets all pass the barrier that they wait at. False when all have returned.
  bool release_barrier() {
    const Thread& first = *threads_.front();
    bool agree = true;
    for (std::size_t i = 0; i < count_; ++i) {
      const Thread& thread = *threads_[i];
      agree = agree && thread.state == first.state && thread.state != Thread::State::at_warp;
      if (thread.state == Thread::State::at_barrier && first.state == Thread::State::at_barrier) {
        agree = agree && thread.where.line() == first.where.line();
      }
    }
    if (!agree) {
      error_ = std::make_exception_ptr(DeviceError(disagreement()));
      return true;
    }
    if (first.state == Thread::State::done) return false;
    for (std::size_t i = 0; i < count_; ++i) threads_[i]->state = Thread::State::ready;
    return true;
  }

  std::string disagreement() const {
    std::string text = concat("block ", text_of(threads_.front()->place.block), " stands still:");
    std::string last;
    for (std::size_t i = 0; i < count_; ++i) {
      const Thread& thread = *threads_[i];
      std::string at = thread.state == Thread::State::done
                           ? "has returned"
                           : concat(thread.state == Thread::State::at_barrier ? "waits at the barrier in " : "waits for lanes in ",
                                    text_of(thread.where));
      if (at == last) continue;
      text += concat(" from thread ", text_of(thread.place.thread), " on it ", at, ";");
      last = std::move(at);
    }
    return text + " every thread has to reach the same barriers and warp operations";
  }

  std::vector<std::unique_ptr<Thread>> threads_;  // of the largest block so far
  std::size_t count_ = 0, index_ = 0;
  Thread* current_ = nullptr;
  const std::function<void()>* kernel_ = nullptr;
  std::vector<std::byte> shared_;
  std::exception_ptr error_;
  bool stopping_ = false;
};

BlockRunner& runner() {
  static thread_local BlockRunner runner;
  return runner;
}

}  // namespace

std::string launch_text(std::source_location where, dim3 blocks, dim3 threads) {
  return concat(text_of(where), " blocks ", blocks.x, " x ", blocks.y, " x ", blocks.z, " of ", threads.x * threads.y * threads.z, " in ",
                where.function_name());
}

std::int64_t longest_loop() {
  static const std::int64_t elements = [] {
    const char* wanted = std::getenv("TRIDENT_EMULATED_LOOP");
    return wanted == nullptr ? std::int64_t{1} << 31 : std::atoll(wanted);
  }();
  return elements;
}

void run_grid(dim3 blocks, dim3 threads, std::size_t shared_bytes, const std::function<void()>& kernel, std::source_location where) {
  const auto require = [&](bool holds, const char* what, std::size_t value) {
    if (!holds) throw DeviceError(concat("kernel launched in ", text_of(where), ": ", what, " ", value, " is more than a device has"));
  };
  const std::size_t per_block = std::size_t{threads.x} * threads.y * threads.z;
  require(per_block >= 1 && per_block <= 1024 && threads.z <= 64, "a block of threads", per_block);
  require(shared_bytes <= cuda_driver::shared_bytes_of_block(0), "bytes of shared memory", shared_bytes);
  require(blocks.x <= 0x7FFFFFFFU, "blocks in x", blocks.x);
  require(blocks.y <= 0xFFFFU, "blocks in y", blocks.y);
  require(blocks.z <= 0xFFFFU, "blocks in z", blocks.z);
  const std::int64_t count = std::int64_t{blocks.x} * blocks.y * blocks.z;
  // One block at a time in the whole process: shared memory is static. (Of each thread it would be part of the stack of every thread, and
  // those of the metrics server are too small for it.)
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  const OpenMemory open;
  for (std::int64_t step = 0; step < count; ++step) {
    const std::int64_t index = is_reversed() ? count - 1 - step : step;
    Place place;
    place.threads = threads;
    place.blocks = blocks;
    place.block = {static_cast<unsigned>(index % blocks.x), static_cast<unsigned>(index / blocks.x % blocks.y),
                   static_cast<unsigned>(index / blocks.x / blocks.y)};
    try {
      runner().run(place, shared_bytes, kernel);
    } catch (const std::exception& problem) {
      throw DeviceError(concat("kernel launched in ", text_of(where), ": ", problem.what()));
    }
  }
}

std::byte* dynamic_shared_bytes() { return runner().shared(); }

void require_no_host_address(const void* argument, std::size_t bytes, int position, std::source_location where) {
  for (std::size_t offset = 0; offset + sizeof(std::uintptr_t) <= bytes; offset += sizeof(std::uintptr_t)) {
    std::uintptr_t word = 0;
    std::memcpy(&word, static_cast<const std::byte*>(argument) + offset, sizeof word);
    if (is_host_address(word)) {
      throw DeviceError(concat("kernel launched in ", text_of(where), ": argument ", position, " holds an address of the host at byte ",
                               offset, "; copy what it points to to the device"));
    }
  }
}

void require_aligned(const void* place, std::size_t bytes) {
  const auto address = reinterpret_cast<std::uintptr_t>(place);
  if (address % std::min<std::size_t>(bytes, 16) == 0) return;
  throw DeviceError(concat("a vector of ", bytes, " bytes is read or written ", address % 16, " bytes behind a multiple of 16"));
}

void barrier(std::source_location where) {
  runner().current().where = where;
  runner().wait(Thread::State::at_barrier);
}

void warp_operation(unsigned mask, WarpOperation operation, void* argument, std::source_location where) {
  Thread& thread = runner().current();
  thread.mask = mask;
  thread.operation = operation;
  thread.argument = argument;
  thread.where = where;
  const auto has_arrived = [&](const Thread& other) { return &other == &thread || other.state == Thread::State::at_warp; };
  const auto compare = [&](int lane, const Thread& other) {
    if (other.operation == operation && other.mask == mask && other.where.line() == where.line()) return;
    throw DeviceError(concat("lane ", lane, " takes part in the warp operation in ", text_of(other.where), ", another lane in the one in ",
                             text_of(where), "; lanes of one mask must do the same"));
  };
  // Lanes come one after the other: until the first and the last are there, nobody looks at those between.
  bool complete = true;
  for (const int lane : {std::countr_zero(mask), 31 - std::countl_zero(mask)}) {
    const Thread* other = mask == 0 ? nullptr : runner().in_warp(lane);
    if (other == nullptr) continue;
    if (has_arrived(*other)) compare(lane, *other);
    complete = complete && has_arrived(*other);
  }
  if (!complete) return runner().wait(Thread::State::at_warp);
  std::array<void*, 32> arguments{};
  bool mine = false;
  for (unsigned left = mask; left != 0; left &= left - 1) {
    const int lane = std::countr_zero(left);
    const Thread* other = runner().in_warp(lane);
    if (other == nullptr) continue;
    mine = mine || other == &thread;
    if (has_arrived(*other)) compare(lane, *other);
    complete = complete && has_arrived(*other);
    arguments[static_cast<std::size_t>(lane)] = other->argument;
  }
  if (!mine) throw DeviceError(concat("warp operation in ", text_of(where), ": the calling lane is not in its own mask"));
  if (!complete) return runner().wait(Thread::State::at_warp);
  operation(arguments);
  for (unsigned left = mask; left != 0; left &= left - 1) {
    if (Thread* other = runner().in_warp(std::countr_zero(left))) other->state = Thread::State::ready;
  }
}

void missing_lane(int lane) { throw DeviceError(concat("a shuffle reads lane ", lane, ", which takes no part in it")); }

void start_copy(void* to, const void* from, std::size_t bytes, std::size_t filled) {
  require_aligned(to, bytes);
  require_aligned(from, bytes);
  runner().current().copies.back().push_back({to, from, bytes, filled});
  std::memset(to, 0xFF, bytes);  // nobody may use it before it was waited for
}

void commit_copies() { runner().current().copies.emplace_back(); }

void wait_copies(int groups_left) {
  auto& copies = runner().current().copies;
  while (copies.size() > static_cast<std::size_t>(groups_left) + 1) {
    for (const PendingCopy& copy : copies.front()) {
      std::memset(copy.to, 0, copy.bytes);
      if (copy.filled > 0) std::memcpy(copy.to, copy.from, copy.filled);
    }
    copies.pop_front();
  }
}

}  // namespace trident::emulation
