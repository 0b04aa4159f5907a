/// Work in order: a stream runs what is put on it one after the other (design: time on the device).
#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

namespace trident {

/// A FIFO of work. Computing on the CPU runs inline; communication on the CPU has a worker thread of its own.
class Stream {
 public:
  virtual ~Stream() = default;
  /// Puts `job` behind everything that is already on the stream.
  virtual void enqueue(std::function<void()> job) = 0;
  /// Waits until everything put on the stream so far has run; rethrows the first error of a job.
  virtual void synchronize() = 0;
};

/// Runs each job at once on the calling thread.
class InlineStream final : public Stream {
 public:
  void enqueue(std::function<void()> job) override { job(); }
  void synchronize() override {}
};

/// Runs jobs in order on one thread of its own. After a job has thrown, later jobs are dropped and the error is rethrown by
/// synchronize(). The destructor runs what is left.
class WorkerStream final : public Stream {
 public:
  WorkerStream();
  ~WorkerStream() override;
  void enqueue(std::function<void()> job) override;
  void synchronize() override;

 private:
  void work();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> jobs_;
  bool busy_ = false;
  bool stopping_ = false;
  std::exception_ptr error_;
  std::thread thread_;  // last: it uses the members above
};

}  // namespace trident
