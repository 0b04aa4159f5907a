/// Samples of one or several data sets, by number: sample k of a set is trajectory k / pairs, pair k mod pairs; sets follow each other.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "launch/data/data_config.h"
#include "models/problem.h"

namespace trident {

class FieldSource;

/// Trajectories of one data set and the pairs of frames that are its samples.
struct DatasetMember {
  Problem problem;  // with the time settings in use
  std::shared_ptr<const FieldSource> source;
  TrajectoryRange trajectories;
  std::vector<FramePair> pairs;  // steady: one, unused
  std::optional<double> weight;

  std::int64_t size() const { return (trajectories.last - trajectories.first) * static_cast<std::int64_t>(pairs.size()); }
};

/// Which frames a sample consists of.
struct SampleIndex {
  std::size_t member = 0;
  std::int64_t trajectory = 0;
  FramePair frames;
  std::optional<double> time;  // of the model
};

/// Where one sample is written, normalised.
struct SampleTarget {
  float* input;   // (in channels, y, x)
  float* label;   // (out channels, y, x)
  bool* mask;     // as Dataset::mask() says; null if none
};

class Dataset {
 public:
  /// Shapes of the mask of a sample.
  enum class Mask { none, channels, points };

  /// Throws ConfigError if the members do not fit each other: channels, resolution, time.
  explicit Dataset(std::vector<DatasetMember> members);
  /// One entry's set with other samples, for evaluation: every trajectory with each of `pairs`. Throws ConfigError past the last frame.
  Dataset with_pairs(const std::vector<FramePair>& pairs) const;

  std::int64_t size() const { return size_; }
  const std::vector<DatasetMember>& members() const { return members_; }
  int in_channels() const;
  int out_channels() const;
  std::int64_t ny() const;  // points
  std::int64_t nx() const;
  Mask mask() const { return mask_; }
  bool has_time() const;
  /// The groups of the loss, from the first member.
  std::vector<ChannelGroup> groups() const { return channel_groups(members_.front().problem); }

  SampleIndex index(std::int64_t sample) const;
  /// Throws DataError with file, variable, trajectory and frame on damaged or non-finite data.
  void read(std::int64_t sample, const SampleTarget& target) const;

 private:
  std::vector<DatasetMember> members_;
  std::vector<std::int64_t> first_;  // sample of each member, and the end
  std::int64_t size_ = 0;
  Mask mask_ = Mask::none;
};

/// Opens the sets of `data.train` or `data.validation`. `default_split` is what entries without `trajectories` and `split` take.
/// Everything is checked before a sample is read. Throws ConfigError, DataError.
Dataset open_dataset(const DataConfig& config, const std::vector<DataEntry>& entries, Split default_split);

}  // namespace trident
