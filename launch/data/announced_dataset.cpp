#include <algorithm>
#include <limits>

#include "launch/data/dataset.h"
#include "runtime/error.h"

namespace trident {
namespace {

/// Fields of a file that is still to come.
class AnnouncedFields final : public FieldSource {
 public:
  AnnouncedFields(std::string path, Shape extents, std::int64_t trajectories)
      : path_(std::move(path)), extents_(std::move(extents)), trajectories_(trajectories) {}
  std::int64_t num_trajectories() const override { return trajectories_; }
  int num_frames() const override { return std::numeric_limits<int>::max(); }
  const Shape& extents() const override { return extents_; }
  std::string description() const override { return path_ + ", not read"; }
  void read(const ChannelRun&, std::int64_t, int, const FieldWindow&, float*) const override {
    throw DataError(path_ + ": is only announced and has nothing to read; open the file");
  }

 private:
  std::string path_;
  Shape extents_;
  std::int64_t trajectories_;
};

TrajectoryRange announced_trajectories(const Problem& problem, const DataEntry& entry) {
  if (entry.trajectories) return {(*entry.trajectories)[0], (*entry.trajectories)[1]};
  const std::int64_t wanted = entry.num_trajectories.value_or(-1);
  if (problem.splits.total > 0) return trajectories_of(problem.splits, entry.split.value_or(Split::train), wanted);
  return {0, std::max<std::int64_t>(wanted, 0)};
}

}  // namespace

Dataset announced_dataset(const DataConfig& config, const Shape& extents) {
  std::vector<DatasetMember> members;
  for (const DataEntry& entry : config.train) {
    DatasetMember& member = members.emplace_back();
    member.problem = problem_of(config, entry, Files::to_come);
    member.trajectories = announced_trajectories(member.problem, entry);
    member.pairs = member.problem.steady ? std::vector<FramePair>{{}} : frame_pairs(member.problem.times);
    member.weight = entry.weight;
    member.source = std::make_shared<AnnouncedFields>(entry.path, extents, member.trajectories.last);
  }
  return Dataset(std::move(members));
}

}  // namespace trident
