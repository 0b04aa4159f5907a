#include "launch/error_table.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "models/split_norm.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

/// Sums of |a - b|^p and |b|^p over channels of one sample.
template <class T>
std::pair<double, double> sums_of(const T* prediction, const T* label, std::int64_t size, int p) {
  double error = 0.0, magnitude = 0.0;
  for (std::int64_t index = 0; index < size; ++index) {
    const double difference = static_cast<double>(prediction[index]) - static_cast<double>(label[index]);
    const auto value = static_cast<double>(label[index]);
    error += p == 1 ? std::abs(difference) : difference * difference;
    magnitude += p == 1 ? std::abs(value) : value * value;
  }
  return {error, magnitude};
}

/// The axes whose ranks hold rectangles of the same samples.
AxisSet rectangle_axes(const ErrorTable::Options& options) { return (Axis::domain_y | Axis::domain_x).without(options.sample_axes); }

bool leads_domain(const ErrorTable::Options& options) { return options.mesh.comm(rectangle_axes(options)).rank() == 0; }

Tensor terms_of(const ErrorTable::Options& options, const Tensor& prediction, const Tensor& label) {
  const NormLoss& norm = *options.loss.norm;
  const bool whole = options.mesh.size(rectangle_axes(options)) == 1;
  return whole ? norm_terms(norm, prediction, label) : split_norm_terms(norm, prediction, label, options.mesh);
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

void ErrorTable::add(const std::vector<std::int64_t>& samples, const Tensor& prediction, const Tensor& label) {
  if (!(prediction.shape() == label.shape()) || prediction.size(1) != options_.out_channels) {
    throw ShapeError(concat("evaluation: the model's output ", to_string(prediction.shape()), " and the label ", to_string(label.shape()),
                            " do not match"));
  }
  const std::int64_t points = label.size(2) * label.size(3);
  const auto add_rows = [&]<class T>(T) {
    const std::vector<T> predicted = to_host<T>(prediction), expected = to_host<T>(label);
    const std::vector<T> terms = options_.loss.norm ? to_host<T>(terms_of(options_, prediction, label)) : std::vector<T>{};
    for (std::size_t index = 0; index < samples.size(); ++index) {
      const std::int64_t first = static_cast<std::int64_t>(index) * options_.out_channels * points;
      Row row{samples[index], {}};
      const auto add_sums = [&](const ChannelGroup& group, int p) {
        const std::int64_t offset = first + group.first * points;
        const auto [error, magnitude] =
            sums_of(predicted.data() + offset, expected.data() + offset, (group.last - group.first) * points, p);
        row.sums.push_back({error, magnitude});
      };
      for (const ChannelGroup& group : options_.groups) add_sums(group, 1);
      for (const ChannelGroup& group : loss_groups_) add_sums(group, options_.loss.p);
      if (options_.loss.norm) {
        const auto own = terms.begin() + static_cast<std::ptrdiff_t>(index) * static_cast<std::ptrdiff_t>(options_.out_channels);
        const double sum = std::accumulate(own, own + static_cast<std::ptrdiff_t>(options_.out_channels), 0.0);
        row.sums.push_back({.error = leads_domain(options_) ? sum : 0.0});  // every domain rank has the terms of whole fields
      }
      rows_.push_back(std::move(row));
    }
  };
  if (prediction.dtype() == DType::f64) {
    add_rows(double{});
  } else {
    add_rows(float{});
  }
}

void ErrorTable::gather() {
  const Mesh& mesh = options_.mesh;
  Communicator& ranks = mesh.comm(options_.sample_axes);
  const std::size_t columns = options_.groups.size() + loss_groups_.size() + (options_.loss.norm ? 1 : 0);
  const auto width = static_cast<std::int64_t>(1 + 2 * columns);
  std::vector<double> numbers;
  for (const Row& row : rows_) {
    // The sum over domain ranks is to leave the number of the sample as it is.
    numbers.push_back(leads_domain(options_) ? static_cast<double>(row.sample) : 0.0);
    for (const Sums& sums : row.sums) numbers.insert(numbers.end(), {sums.error, sums.label});
  }
  const Tensor mine = from_values<double>({static_cast<std::int64_t>(numbers.size())}, numbers);
  mesh.comm(rectangle_axes(options_)).all_reduce(mine, ReduceOp::sum);
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
