#include "launch/data/dataset.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "launch/data/field_source.h"
#include "models/normalization.h"
#include "runtime/error.h"
#include "runtime/ops/fft.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"

namespace trident {
namespace {

/// Channels that lie side by side in the file and in the sample, read at once.
struct PlacedRun {
  ChannelRun run{};
  int channel = 0;  // of the sample
};

std::size_t variable_index(const Problem& problem, const std::string& name) {
  const auto is_it = [&](const Variable& variable) { return variable.name == name; };
  return static_cast<std::size_t>(std::find_if(problem.variables.begin(), problem.variables.end(), is_it) - problem.variables.begin());
}

std::vector<PlacedRun> runs_of(const Problem& problem, const std::vector<Channel>& channels) {
  std::vector<PlacedRun> runs;
  for (std::size_t index = 0; index < channels.size(); ++index) {
    if (channels[index].source != Source::file) continue;
    const std::size_t variable = variable_index(problem, channels[index].variable);
    if (!runs.empty()) {
      auto& [run, channel] = runs.back();
      if (run.variable == variable && run.first + run.count == channels[index].index && channel + run.count == static_cast<int>(index)) {
        ++run.count;
        continue;
      }
    }
    runs.push_back({{variable, channels[index].index, 1}, static_cast<int>(index)});
  }
  return runs;
}

/// 0.1 sin(2 pi (x + y)) on points that include both ends of the unit interval.
float kolmogorov_forcing(std::int64_t j, std::int64_t i, std::int64_t ny, std::int64_t nx) {
  const double sum = static_cast<double>(j) / static_cast<double>(ny - 1) + static_cast<double>(i) / static_cast<double>(nx - 1);
  return static_cast<float>(0.1 * std::sin(2.0 * std::numbers::pi * sum));
}

void fill_with_forcing(std::span<float> values, const FieldWindow& window, const Shape& extents) {
  for (std::size_t k = 0; k < values.size(); ++k) {
    const auto point = static_cast<std::int64_t>(k);
    const std::int64_t row = window.part[0].first + point / window.extent(1) * window.stride;
    const std::int64_t column = window.part[1].first + point % window.extent(1) * window.stride;
    values[k] = kolmogorov_forcing(row, column, extents[0], extents[1]);
  }
}

/// Real fields (field, space...) on other points, by the modes that both grids have: along the last two axes, then along the first of
/// three.
Tensor resampled_reals(const Tensor& x, const Shape& extents) {
  const int axes = extents.rank();
  const std::int64_t fields = x.size(0), rows = axes > 1 ? x.size(-2) : 1, columns = x.size(-1), depth = axes > 2 ? x.size(1) : 1;
  const std::int64_t new_rows = axes > 1 ? extents[axes - 2] : 1, new_columns = extents[axes - 1], points = new_rows * new_columns;
  Tensor y = spectral_resample(view::reshape(x, {fields * depth, rows, columns}), new_rows, new_columns);
  if (axes > 2) {
    y = packed(view::permute(view::reshape(y, {fields, depth, points}), {0, 2, 1}));
    y = spectral_resample(view::reshape(y, {fields * points, 1, depth}), 1, extents[0]);
    y = packed(view::permute(view::reshape(y, {fields, points, extents[0]}), {0, 2, 1}));
  }
  Shape shape{fields};
  for (const std::int64_t extent : extents) shape.push_back(extent);
  return view::reshape(y, shape);
}

/// The same of fields whose last axis are real and imaginary part.
Tensor resampled_pairs(const Tensor& x, const Shape& extents) {
  const Tensor parts = packed(view::permute(view::reshape(x, {x.size(0), x.numel() / (2 * x.size(0)), 2}), {0, 2, 1}));
  Shape apart{2 * x.size(0)};
  for (int axis = 1; axis <= extents.rank(); ++axis) apart.push_back(x.size(axis));
  const Tensor y = resampled_reals(view::reshape(parts, apart), extents);
  Shape shape{x.size(0)};
  for (const std::int64_t extent : extents) shape.push_back(extent);
  shape.push_back(2);
  return view::reshape(packed(view::permute(view::reshape(y, {x.size(0), 2, numel(extents)}), {0, 2, 1})), shape);
}

/// Every so many points of whole fields (channel, space...).
Tensor part_of(const Tensor& fields, const FieldWindow& window) {
  Shape shape = fields.shape(), strides = fields.strides();
  std::int64_t offset = fields.offset();
  for (std::size_t axis = 0; axis < window.part.size(); ++axis) {
    const int dim = static_cast<int>(axis) + 1;
    offset += window.part[axis].first * strides[dim];
    shape[dim] = window.extent(axis);
    strides[dim] *= window.stride;
  }
  return Tensor(fields.storage(), offset, shape, strides, fields.dtype());
}

}  // namespace

struct Dataset::Reading {
  explicit Reading(const DatasetMember& member)
      : problem(member.problem),
        source(member.source),
        input_runs(runs_of(problem, problem.input)),
        output_runs(runs_of(problem, problem.output)) {
    extents = source->extents();
    // Frequencies -n/2 <= k <= n/2 - 1 are kept: an odd n gives n - 1 points.
    if (member.resolution) std::ranges::fill(extents, *member.resolution / 2 * 2);
  }

  std::int64_t numbers_a_point() const { return problem.complex ? 2 : 1; }

  /// A part of one frame's channels at the source's resolution, normalised.
  void read_frame(const std::vector<Channel>& channels, const std::vector<PlacedRun>& runs, std::int64_t trajectory, int frame,
                  const FieldWindow& window, float* target) const {
    const std::int64_t numbers = window.points() * numbers_a_point();
    for (const auto& [run, channel] : runs) source->read(run, trajectory, frame, window, target + channel * numbers);
    for (std::size_t index = 0; index < channels.size(); ++index) {
      const std::span<float> values(target + static_cast<std::int64_t>(index) * numbers, static_cast<std::size_t>(numbers));
      if (channels[index].source == Source::constant) {  // the same at all points
        const std::span<float> point = values.first(static_cast<std::size_t>(std::min(numbers, numbers_a_point())));
        std::ranges::fill(point, static_cast<float>(channels[index].value));
        normalise(channels[index], point);
        for (std::size_t part = 0; part < point.size(); ++part) {
          for (std::size_t k = part; k < values.size(); k += point.size()) values[k] = point[part];
        }
        continue;
      }
      if (channels[index].source == Source::kolmogorov_forcing) fill_with_forcing(values, window, source->extents());
      normalise(channels[index], values);
    }
  }

  void normalise(const Channel& channel, std::span<float> values) const {
    problem.complex ? normalize_pairs(channel, values) : normalize_values(channel, values);
  }

  void read(const std::vector<Channel>& channels, const std::vector<PlacedRun>& runs, std::int64_t trajectory, int frame,
            const FieldWindow& window, float* target) const {
    if (extents == source->extents()) return read_frame(channels, runs, trajectory, frame, window, target);
    Shape shape{static_cast<std::int64_t>(channels.size())};
    for (const std::int64_t extent : source->extents()) shape.push_back(extent);
    if (problem.complex) shape.push_back(2);
    const Tensor fields = empty(shape, DType::f32);
    read_frame(channels, runs, trajectory, frame, {.part = whole_box(source->extents())}, fields.data<float>());
    const Tensor wanted = part_of(problem.complex ? resampled_pairs(fields, extents) : resampled_reals(fields, extents), window);
    copy_into(from_memory(target, wanted.shape(), DType::f32, nullptr), wanted);
  }

  Problem problem;
  std::shared_ptr<const FieldSource> source;
  Shape extents;  // of the samples
  std::vector<PlacedRun> input_runs, output_runs;
};

Dataset::Dataset(std::vector<DatasetMember> members) : members_(std::move(members)), first_{0} {
  if (members_.empty()) throw ConfigError("data: the list of data sets is empty; name at least one");
  for (const DatasetMember& member : members_) {
    readings_.push_back(std::make_shared<Reading>(member));
    first_.push_back(first_.back() + member.size());
    if (member.problem.mask == MaskRule::input_is_one)
      mask_ = Mask::points;
    else if (member.problem.mask == MaskRule::channels && mask_ == Mask::none)
      mask_ = Mask::channels;
  }
  for (std::size_t index = 1; index < members_.size(); ++index) {
    const Problem &a = members_.front().problem, &b = members_[index].problem;
    const Reading &one = *readings_.front(), &other = *readings_[index];
    const auto differ = [&](const char* what, const auto& x, const auto& y, const char* advice) {
      throw ConfigError(
          concat("data: \"", a.name, "\" and \"", b.name, "\" cannot share batches: ", what, " ", x, " and ", y, "; ", advice));
    };
    if (a.complex != b.complex) {
      differ("numbers", a.complex ? "complex" : "real", b.complex ? "complex" : "real", "set `complex: true` for the real ones");
    }
    if (a.input.size() != b.input.size()) differ("input channels", a.input.size(), b.input.size(), "train on one of them");
    if (a.output.size() != b.output.size()) differ("output channels", a.output.size(), b.output.size(), "train on one of them");
    if (one.extents != other.extents) {
      differ("resolutions", spelled_points(one.extents), spelled_points(other.extents), "set `resolution` to the smaller one");
    }
    if (a.time_scale.has_value() != b.time_scale.has_value()) {
      differ("lead times", a.time_scale ? "given" : "none", b.time_scale ? "given" : "none",
             "add the ending .time to the steady one's name");
    }
    if (members_.front().weight.has_value() != members_[index].weight.has_value()) {
      differ("weights", members_.front().weight ? "given" : "none", members_[index].weight ? "given" : "none", "give all of them or none");
    }
  }
}

Dataset Dataset::with_pairs(const std::vector<FramePair>& pairs) const {
  std::vector<DatasetMember> members = members_;
  for (DatasetMember& member : members) {
    for (const FramePair& pair : pairs) {
      const int last = std::max(pair.first, pair.second);
      if (pair.first < 0 || pair.second < 0 || last >= member.source->num_frames()) {
        throw ConfigError(concat("data: \"", member.problem.name, "\" has frames 0 to ", member.source->num_frames() - 1, ", not ", last,
                                 "; choose initial and final times among them"));
      }
    }
    member.pairs = pairs;
  }
  return Dataset(std::move(members));
}

int Dataset::in_channels() const { return static_cast<int>(problem().input.size()); }
int Dataset::out_channels() const { return static_cast<int>(problem().output.size()); }
const Shape& Dataset::extents() const { return readings_.front()->extents; }
bool Dataset::is_resampled() const {
  return std::ranges::any_of(readings_, [](const auto& reading) { return reading->extents != reading->source->extents(); });
}
bool Dataset::has_time() const { return problem().time_scale.has_value(); }

std::string Dataset::description() const {
  std::string text;
  for (const DatasetMember& member : members_) {
    text += concat(text.empty() ? "" : "; ", member.problem.name, " (", member.source->description(), "), trajectories ",
                   member.trajectories.first, " to ", member.trajectories.last - 1, ", ", member.size(), " samples");
  }
  return text;
}

SampleIndex Dataset::index(std::int64_t sample) const {
  if (sample < 0 || sample >= size()) throw ConfigError(concat("data: sample ", sample, " is outside of 0 to ", size() - 1));
  const auto next = std::upper_bound(first_.begin(), first_.end(), sample);
  SampleIndex result;
  result.member = static_cast<std::size_t>(next - first_.begin()) - 1;
  const DatasetMember& member = members_[result.member];
  const auto pairs = static_cast<std::int64_t>(member.pairs.size());
  const std::int64_t position = sample - first_[result.member];
  result.trajectory = member.trajectories.first + position / pairs;
  result.frames = member.pairs[static_cast<std::size_t>(position % pairs)];
  if (!member.problem.time_scale) return result;
  const double lead = member.problem.steady ? *member.problem.time_scale : result.frames.second - result.frames.first;
  result.time = lead / *member.problem.time_scale;
  return result;
}

Tensor Dataset::make_fields(std::int64_t batch, int channels, const Box& part) const {
  Shape shape{batch, channels};
  for (const Range& range : part) shape.push_back(range.size());
  return empty(shape, is_complex() ? DType::c64 : DType::f32);
}

void Dataset::read(std::int64_t sample, const SampleTarget& target) const { read(sample, whole_box(extents()), target); }

void Dataset::read(std::int64_t sample, const Box& part, const SampleTarget& target) const {
  const SampleIndex at = index(sample);
  const Reading& reading = *readings_[at.member];
  const Problem& problem = reading.problem;
  reading.read(problem.input, reading.input_runs, at.trajectory, at.frames.first, {.part = part}, target.input);
  reading.read(problem.output, reading.output_runs, at.trajectory, at.frames.second, {.part = part}, target.label);
  const std::int64_t points = num_elements(part);
  for (int channel = 0; mask_ == Mask::channels && channel < out_channels(); ++channel) {
    target.mask[channel] = problem.mask == MaskRule::channels && problem.output[static_cast<std::size_t>(channel)].masked;
  }
  for (std::int64_t point = 0; mask_ == Mask::points && point < points; ++point) {
    target.mask[point] = problem.mask == MaskRule::input_is_one && target.input[point] == 1.0F;
    if (target.mask[point]) target.label[point] = 1.0F;
  }
}

float* numbers_of(const Tensor& fields, std::int64_t sample) {
  const Tensor numbers = is_complex(fields.dtype()) ? view::as_real(fields) : fields;
  return numbers.data<float>() + (fields.size(0) == 0 ? 0 : sample * (numbers.numel() / fields.size(0)));
}

void Dataset::read_input(std::int64_t sample, const FieldWindow& window, float* target) const {
  const SampleIndex at = index(sample);
  const Reading& reading = *readings_[at.member];
  reading.read(reading.problem.input, reading.input_runs, at.trajectory, at.frames.first, window, target);
}

void Dataset::read_label(std::int64_t sample, const FieldWindow& window, float* target) const {
  const SampleIndex at = index(sample);
  const Reading& reading = *readings_[at.member];
  reading.read(reading.problem.output, reading.output_runs, at.trajectory, at.frames.second, window, target);
}

}  // namespace trident
