#include "launch/trainer/checkpoint_saver.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "checkpoint/checkpoint_conversion.h"
#include "checkpoint/sharded_checkpoint.h"
#include "runtime/activity.h"
#include "runtime/device/threads.h"

namespace trident {

using Clock = std::chrono::steady_clock;

CheckpointSaver::CheckpointSaver(RunFolder folder, int keep, const Mesh& mesh)
    : folder_(std::move(folder)), keep_(keep), mesh_(mesh), lane_(mesh.world().host_lane()) {
  if (lane_) lane_->set_patience(Patience::beside_computing);
}

double CheckpointSaver::write(std::int64_t step, const TrainingState& part, Communicator& ranks) const {
  const Clock::time_point start = Clock::now();
  const std::filesystem::path saved = save_checkpoint(folder_.checkpoints(), step, part, ranks);
  if (ranks.rank() == 0) {
    prune_checkpoints(folder_.checkpoints(), keep_);
    model_from_checkpoint(saved, folder_.model(), Description::keep);
  }
  return std::chrono::duration<double>(Clock::now() - start).count();
}

void CheckpointSaver::save(std::int64_t step, const TrainingState& state) {
  wait();
  longest_ = std::max(longest_, write(step, part_to_save(state, mesh_), mesh_.world()));
}

void CheckpointSaver::start(std::int64_t step, const TrainingState& state) {
  if (!lane_) return save(step, state);
  wait();
  saving_ = std::async(std::launch::async, [this, step, part = host_copy(part_to_save(state, mesh_))] {
    set_num_threads(1);  // of this thread alone: the others compute
    const Activity activity("checkpoint");
    return write(step, part, *lane_);
  });
}

void CheckpointSaver::check() {
  if (saving_.valid() && saving_.wait_for(std::chrono::seconds(0)) == std::future_status::ready) wait();
}

void CheckpointSaver::wait() {
  if (saving_.valid()) longest_ = std::max(longest_, saving_.get());
}

}  // namespace trident
