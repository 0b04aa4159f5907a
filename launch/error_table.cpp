#include "launch/error_table.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "models/mg_tfno/patch_loss.h"
#include "models/split_norm.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

double widened(float x) { return x; }
double widened(double x) { return x; }
c128 widened(c64 x) { return x; }
c128 widened(c128 x) { return x; }

/// Sums of |a - b|^p and |b|^p over channels of one sample.
template <class T>
std::pair<double, double> sums_of(const T* prediction, const T* label, std::int64_t size, int p) {
  double error = 0.0, magnitude = 0.0;
  for (std::int64_t index = 0; index < size; ++index) {
    const auto value = widened(label[index]), difference = widened(prediction[index]) - value;
    error += p == 1 ? std::abs(difference) : std::norm(difference);
    magnitude += p == 1 ? std::abs(value) : std::norm(value);
  }
  return {error, magnitude};
}

/// Of the ranks that have parts of the same samples, one tells what all of them know.
bool leads_parts(const ErrorTable::Options& options) { return options.mesh.comm(options.part_axes).rank() == 0; }

Tensor terms_of(const ErrorTable::Options& options, const Tensor& prediction, const Tensor& label) {
  const NormLoss& norm = *options.loss.norm;
  const bool whole = options.mesh.size(options.part_axes) == 1;
  return whole ? norm_terms(norm, prediction, label) : split_norm_terms(norm, prediction, label, options.mesh);
}

std::vector<double> widened(const Tensor& x) {
  const Tensor wide = empty(x.shape(), DType::f64);
  copy_into(wide, x);
  return to_host<double>(wide);
}

struct Statistics {
  double median = 0.0, mean = 0.0, std = 0.0, min = 0.0, max = 0.0;
};

Statistics statistics_of(std::vector<double> values) {
  std::ranges::sort(values);
  const std::size_t count = values.size();
  Statistics result;
  result.median = 0.5 * (values[(count - 1) / 2] + values[count / 2]);
  result.mean = std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(count);
  for (const double value : values) result.std += (value - result.mean) * (value - result.mean);
  result.std = std::sqrt(result.std / static_cast<double>(count));
  result.min = values.front();
  result.max = values.back();
  return result;
}

ConfigValue list_of(const std::vector<double>& values) {
  ConfigValue list = ConfigValue::list();
  for (const double value : values) list.append(value);
  return list;
}

}  // namespace

ErrorTable::ErrorTable(Options options) : options_(std::move(options)), loss_groups_(options_.loss.groups) {
  if (options_.loss.norm)
    loss_groups_.clear();
  else if (loss_groups_.empty())
    loss_groups_ = {{0, static_cast<int>(options_.out_channels)}};
}

template <class T>
void ErrorTable::add_sums(Row& row, const T* prediction, const T* label, std::int64_t points) const {
  auto target = row.sums.begin();
  const auto add = [&](const ChannelGroup& group, int p) {
    const std::int64_t offset = group.first * points;
    const auto [error, magnitude] = sums_of(prediction + offset, label + offset, (group.last - group.first) * points, p);
    target->error += error;
    (target++)->label += magnitude;
  };
  for (const ChannelGroup& group : options_.groups) add(group, 1);
  for (const ChannelGroup& group : loss_groups_) add(group, options_.loss.p);
}

template <class T>
void ErrorTable::add_rows(const std::vector<std::int64_t>& samples, const std::vector<std::int64_t>& sample_of, const Tensor& prediction,
                          const Tensor& label, const Tensor& terms) {
  const std::vector<T> predicted = to_host<T>(prediction), expected = to_host<T>(label);
  const std::vector<double> of_norm = terms.defined() ? widened(terms) : std::vector<double>{};
  std::int64_t points = 1;
  for (int dim = 2; dim < label.rank(); ++dim) points *= label.size(dim);
  const std::size_t first = rows_.size(), columns = options_.groups.size() + loss_groups_.size() + (terms.defined() ? 1 : 0);
  for (const std::int64_t sample : samples) rows_.push_back({sample, std::vector<Sums>(columns)});
  for (std::size_t part = 0; part < sample_of.size(); ++part) {
    const std::int64_t offset = static_cast<std::int64_t>(part) * options_.out_channels * points;
    add_sums(rows_[first + static_cast<std::size_t>(sample_of[part])], predicted.data() + offset, expected.data() + offset, points);
  }
  // Every rank has the terms of whole fields.
  for (std::size_t index = 0; index < samples.size() && terms.defined() && leads_parts(options_); ++index) {
    const auto own = of_norm.begin() + static_cast<std::ptrdiff_t>(index) * static_cast<std::ptrdiff_t>(options_.out_channels);
    rows_[first + index].sums.back().error = std::accumulate(own, own + static_cast<std::ptrdiff_t>(options_.out_channels), 0.0);
  }
}

void ErrorTable::add_all(const std::vector<std::int64_t>& samples, const std::vector<std::int64_t>& sample_of, const Tensor& prediction,
                         const Tensor& label, const Tensor& terms) {
  if (!(prediction.shape() == label.shape()) || prediction.size(1) != options_.out_channels) {
    throw ShapeError(concat("evaluation: the model's output ", to_string(prediction.shape()), " and the label ", to_string(label.shape()),
                            " do not match"));
  }
  switch (prediction.dtype()) {
    case DType::f64:
      return add_rows<double>(samples, sample_of, prediction, label, terms);
    case DType::c64:
      return add_rows<c64>(samples, sample_of, prediction, label, terms);
    case DType::c128:
      return add_rows<c128>(samples, sample_of, prediction, label, terms);
    default:
      return add_rows<float>(samples, sample_of, prediction, label, terms);
  }
}

void ErrorTable::add(const std::vector<std::int64_t>& samples, const Tensor& prediction, const Tensor& label) {
  std::vector<std::int64_t> sample_of(samples.size());
  std::iota(sample_of.begin(), sample_of.end(), 0);
  add_all(samples, sample_of, prediction, label, options_.loss.norm ? terms_of(options_, prediction, label) : Tensor{});
}

void ErrorTable::add_patches(const std::vector<std::int64_t>& samples, const Tensor& prediction, const Fields& fields) {
  const PatchLoss& patches = *options_.loss.patches;
  std::vector<std::int64_t> sample_of;
  for (std::int64_t unit = fields.patches->units.first; unit < fields.patches->units.last; ++unit) {
    sample_of.push_back(unit / (static_cast<std::int64_t>(patches.per_side) * patches.per_side));
  }
  const bool norm = options_.loss.norm.has_value();
  const Tensor terms = norm ? stitched_norm_terms(*options_.loss.norm, patches, prediction, fields, options_.mesh) : Tensor{};
  add_all(samples, sample_of, prediction, without_margin(fields.label), terms);
}

void ErrorTable::gather() {
  const Mesh& mesh = options_.mesh;
  Communicator& ranks = mesh.comm(options_.sample_axes);
  const std::size_t columns = options_.groups.size() + loss_groups_.size() + (options_.loss.norm ? 1 : 0);
  const auto width = static_cast<std::int64_t>(1 + 2 * columns);
  std::vector<double> numbers;
  for (const Row& row : rows_) {
    // The sum over domain ranks is to leave the number of the sample as it is.
    numbers.push_back(leads_parts(options_) ? static_cast<double>(row.sample) : 0.0);
    for (const Sums& sums : row.sums) numbers.insert(numbers.end(), {sums.error, sums.label});
  }
  const Tensor mine = from_values<double>({static_cast<std::int64_t>(numbers.size())}, numbers);
  mesh.comm(options_.part_axes).all_reduce(mine, ReduceOp::sum);
  const std::vector<std::int64_t> one_each(static_cast<std::size_t>(ranks.size()), 1);
  const Tensor sizes = empty({ranks.size()}, DType::i64);
  ranks.all_gather(from_values<std::int64_t>({1}, {static_cast<std::int64_t>(numbers.size())}), sizes, one_each);
  const std::vector<std::int64_t> counts = to_host<std::int64_t>(sizes);
  const Tensor all = empty({std::accumulate(counts.begin(), counts.end(), std::int64_t{0})}, DType::f64);
  ranks.all_gather(mine, all, counts);
  numbers = to_host<double>(all);

  rows_.clear();
  for (auto number = numbers.begin(); number != numbers.end(); number += width) {
    Row row{static_cast<std::int64_t>(*number), {}};
    for (std::size_t column = 0; column < columns; ++column) {
      const auto at = number + 1 + 2 * static_cast<std::ptrdiff_t>(column);
      row.sums.push_back({*at, *(at + 1)});
    }
    rows_.push_back(std::move(row));
  }
  std::ranges::sort(rows_, {}, &Row::sample);
}

double ErrorTable::norm_loss_of(std::size_t first, std::size_t last) const {
  double total = 0.0;
  for (std::size_t row = first; row < last; ++row) total += rows_[row].sums.back().error;
  const double terms = options_.loss.norm->reduction == Reduction::mean ? static_cast<double>(options_.out_channels) : 1.0;
  return total / (terms * static_cast<double>(last - first));
}

double ErrorTable::loss_of(std::size_t first, std::size_t last) const {
  if (options_.loss.norm) return norm_loss_of(first, last);
  double total = 0.0;
  for (std::size_t group = 0; group < loss_groups_.size(); ++group) {
    Sums sums;
    for (std::size_t row = first; row < last; ++row) {
      const Sums& of_sample = rows_[row].sums[options_.groups.size() + group];
      sums.error += of_sample.error;
      sums.label += of_sample.label;
    }
    const double count = static_cast<double>((last - first) * static_cast<std::size_t>(options_.points)) *
                         (loss_groups_[group].last - loss_groups_[group].first);
    const bool relative = !options_.loss.groups.empty();
    total += relative ? sums.error / count / (sums.label / count + 1e-10) : sums.error / count;
  }
  return total / static_cast<double>(loss_groups_.size());
}

double ErrorTable::loss_of_batches(std::int64_t batch_size) const {
  double total = 0.0;
  const auto step = static_cast<std::size_t>(batch_size);
  for (std::size_t first = 0; first < rows_.size(); first += step) {
    const std::size_t last = std::min(rows_.size(), first + step);
    total += loss_of(first, last) * static_cast<double>(last - first);
  }
  return total / static_cast<double>(rows_.size());
}

std::vector<double> ErrorTable::errors(std::size_t group, bool relative) const {
  std::vector<double> values;
  for (const Row& row : rows_) {
    const Sums& sums = row.sums[group];
    values.push_back(relative ? 100.0 * sums.error / (sums.label == 0.0 ? 1e-10 : sums.label) : sums.error);
  }
  return values;
}

ConfigValue ErrorTable::metrics(MetricsDetail detail) const {
  ConfigValue means = ConfigValue::map(), of_groups = ConfigValue::map();
  const bool full = detail == MetricsDetail::full;
  for (const bool relative : {true, false}) {
    if (!relative && !full) continue;
    const std::string suffix = relative ? "_relative_l1_error" : "_l1_error";
    double mean = 0.0, mean_over_median = 0.0;
    for (std::size_t group = 0; group < options_.groups.size(); ++group) {
      const std::vector<double> values = errors(group, relative);
      const Statistics statistics = statistics_of(values);
      const std::string prefix = options_.group_names[group] + "/";
      of_groups.set(prefix + "median" + suffix, statistics.median);
      if (full) of_groups.set(prefix + (relative ? "relative_full_data" : "full_data"), list_of(values));
      of_groups.set(prefix + "mean" + suffix, statistics.mean);
      of_groups.set(prefix + "std" + suffix, statistics.std);
      of_groups.set(prefix + "min" + suffix, statistics.min);
      of_groups.set(prefix + "max" + suffix, statistics.max);
      mean += statistics.mean / static_cast<double>(options_.groups.size());
      mean_over_median += statistics.median / static_cast<double>(options_.groups.size());
    }
    means.set("mean" + suffix, mean);
    means.set("mean_over_median" + suffix, mean_over_median);
  }
  for (const auto& [name, value] : of_groups.entries()) means.set(name, value);
  return means;
}

}  // namespace trident
