/// Samples of one or several data sets, by number: sample k of a set is trajectory k / pairs, pair k mod pairs; sets follow each other.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "launch/data/data_config.h"
#include "launch/data/field_source.h"
#include "models/problem.h"
#include "parallel/range.h"
#include "runtime/tensor/tensor.h"

namespace trident {

/// Trajectories of one data set and the pairs of frames that are its samples.
struct DatasetMember {
  Problem problem{};  // with the time settings in use
  std::shared_ptr<const FieldSource> source{};
  TrajectoryRange trajectories{};
  std::vector<FramePair> pairs{};   // of a steady problem one, unused
  std::optional<int> resolution{};  // points per side after Fourier downsampling
  std::optional<double> weight{};

  std::int64_t size() const { return (trajectories.last - trajectories.first) * static_cast<std::int64_t>(pairs.size()); }
};

/// Which frames a sample consists of.
struct SampleIndex {
  std::size_t member = 0;
  std::int64_t trajectory = 0;
  FramePair frames;
  std::optional<double> time;  // of the model
};

/// Where one sample is written, normalised. Complex numbers are pairs of real ones.
struct SampleTarget {
  float* input;  // (in channels, space...)
  float* label;  // (out channels, space...)
  bool* mask;    // (out channels) or (1, space...) as Dataset::mask() says; null if there is none
};

/// Which part of fields this rank wants, given their points; all of them if there is none.
using PartOfField = std::function<Box(const Shape& extents)>;

class Dataset {
 public:
  /// Shapes of the mask of a sample.
  enum class Mask { none, channels, points };

  /// Throws ConfigError if the members do not fit each other: channels, resolution, time.
  explicit Dataset(std::vector<DatasetMember> members);
  /// The same trajectories with other samples, for evaluation: each with every one of `pairs`. Throws ConfigError past the last frame.
  Dataset with_pairs(const std::vector<FramePair>& pairs) const;

  std::int64_t size() const { return first_.back(); }
  const std::vector<DatasetMember>& members() const { return members_; }
  int in_channels() const;
  int out_channels() const;
  const Shape& extents() const;  // points along each axis of space
  std::int64_t points() const { return numel(extents()); }
  // Along the last two axes, which domain ranks share; of one-dimensional fields ny is 1.
  std::int64_t ny() const { return extents().rank() > 1 ? extents()[extents().rank() - 2] : 1; }
  std::int64_t nx() const { return extents()[extents().rank() - 1]; }
  bool is_complex() const { return problem().complex; }
  Mask mask() const { return mask_; }
  bool has_time() const;
  /// Whether fields of a member are brought to another resolution, for which they are read whole.
  bool is_resampled() const;
  /// The first member's problem: channels and groups are as many in all members.
  const Problem& problem() const { return members_.front().problem; }
  /// One line for the log: files, the order of chunks, trajectories, samples.
  std::string description() const;

  SampleIndex index(std::int64_t sample) const;
  /// Throws DataError with file, variable, trajectory and frame on damaged or non-finite data.
  void read(std::int64_t sample, const SampleTarget& target) const;
  /// A part of its fields. Only that is read, but where is_resampled(): the transform needs whole ones.
  void read(std::int64_t sample, const Box& part, const SampleTarget& target) const;
  /// Memory for the fields of so many samples: (batch, channel, space...), f32 or c64.
  Tensor make_fields(std::int64_t batch, int channels, const Box& part) const;
  /// The points of a window of its input, of its label (without masks): (channel, space...).
  void read_input(std::int64_t sample, const FieldWindow& window, float* target) const;
  void read_label(std::int64_t sample, const FieldWindow& window, float* target) const;

 private:
  struct Reading;  // what a member needs to be read, worked out once

  std::vector<DatasetMember> members_;
  std::vector<std::shared_ptr<const Reading>> readings_;
  std::vector<std::int64_t> first_;  // sample of each member, and the end
  Mask mask_ = Mask::none;
};

/// The numbers of fields that make_fields() has made, for SampleTarget: `sample` samples past the first.
float* numbers_of(const Tensor& fields, std::int64_t sample = 0);

enum class Files { there, to_come };
/// The problem of an entry with the time settings in use: the table's, or the user's own, whose axes are those of its file; of files to
/// come it has no variables. Throws ConfigError, DataError.
Problem problem_of(const DataConfig& config, const DataEntry& entry, Files files = Files::there);
/// One set of its own. `default_split` is what an entry without `trajectories` and `split` takes. Throws ConfigError, DataError.
DatasetMember open_member(Problem problem, const DataEntry& entry, Split default_split);
/// Any frames of one trajectory of a file or folder, as samples. Throws ConfigError, DataError.
Dataset open_frames(Problem problem, const std::string& path, std::int64_t trajectory, const std::vector<FramePair>& pairs);
/// The sets of `entries`, which are those of `data.train` or `data.validation`. Everything is checked before a sample is read. `key` names
/// the list in messages. Throws ConfigError, DataError.
Dataset open_dataset(const DataConfig& config, const std::vector<DataEntry>& entries, Split default_split, const std::string& key);
/// The same, each by itself.
std::vector<Dataset> open_each(const DataConfig& config, const std::vector<DataEntry>& entries, Split default_split,
                               const std::string& key);
/// What the sets of data.train will be whose files are still to come, of fields with so many points: good for all but reading. Members
/// whose entries do not say how many trajectories they have are empty. Throws ConfigError.
Dataset announced_dataset(const DataConfig& config, const Shape& extents);
/// Checks what can be checked without a file. Throws ConfigError with the line in `document`, the run file, whose key `data` the section
/// is.
void check_data_config(const DataConfig& config, const ConfigValue& document);

}  // namespace trident
