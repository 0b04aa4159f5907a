/// The checkpoints of a run, each with its model in the run's folder.
#pragma once

#include <cstdint>
#include <future>
#include <memory>

#include "checkpoint/training_state.h"
#include "launch/trainer/run_folder.h"

namespace trident {

/// Saves one checkpoint at a time. What saving meets is thrown by the call that learns of it: save(), start() or check(). Its end waits for
/// what is under way.
class CheckpointSaver {
 public:
  /// Keeps the last `keep` ones. Collective.
  CheckpointSaver(RunFolder folder, int keep, const Mesh& mesh);

  /// Returns when the checkpoint would survive a loss of power. Collective.
  void save(std::int64_t step, const TrainingState& state);
  /// Returns when the state may change: a thread goes on with copies of its tensors. As save() where only one thread at a time may
  /// communicate. Collective.
  void start(std::int64_t step, const TrainingState& state);
  /// Notes what has ended since. Not collective.
  void check();

  bool is_saving() const { return saving_.valid(); }
  /// Seconds that saving a checkpoint took at most.
  double longest() const { return longest_; }

 private:
  void wait();
  double write(std::int64_t step, const TrainingState& part, Communicator& ranks) const;

  RunFolder folder_;
  int keep_;
  Mesh mesh_;
  std::unique_ptr<Communicator> lane_;  // of the thread
  std::future<double> saving_;          // the thread's end: the seconds that it took
  double longest_ = 1.0;
};

}  // namespace trident
