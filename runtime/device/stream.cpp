#include "runtime/device/stream.h"

#include <utility>

#include "runtime/activity.h"

namespace trident {

WorkerStream::WorkerStream() : thread_([this] { work(); }) {}

WorkerStream::~WorkerStream() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void WorkerStream::enqueue(std::function<void()> job) {
  {
    const std::lock_guard lock(mutex_);
    jobs_.push_back([stack = current_activities(), job = std::move(job)] {
      const WorkingFor owner(stack);
      job();
    });
  }
  changed_.notify_all();
}

void WorkerStream::synchronize() {
  std::unique_lock lock(mutex_);
  if (!jobs_.empty() || busy_) {
    const Activity waiting("waiting for communication", TraceEvent::Kind::blocked);
    changed_.wait(lock, [this] { return jobs_.empty() && !busy_; });
  }
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

void WorkerStream::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
    if (jobs_.empty()) return;
    std::function<void()> job = std::move(jobs_.front());
    jobs_.pop_front();
    if (error_) {
      changed_.notify_all();
      continue;
    }
    busy_ = true;
    lock.unlock();
    std::exception_ptr error;
    try {
      job();
    } catch (...) {
      error = std::current_exception();
    }
    job = nullptr;  // what the job holds is released before anyone is told that it is done
    lock.lock();
    busy_ = false;
    if (error) error_ = error;
    changed_.notify_all();
  }
}

}  // namespace trident
