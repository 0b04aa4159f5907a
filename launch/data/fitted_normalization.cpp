#include "launch/data/fitted_normalization.h"

#include <algorithm>
#include <cmath>

#include "launch/value_statistics.h"
#include "parallel/range.h"
#include "runtime/error.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

constexpr double kEps = 1e-7;  // neuraloperator's
/// Samples are shared out in blocks whose moments are joined in order, so that the number of ranks does not show.
constexpr std::int64_t kBlocks = 256;

/// Of every channel, inputs first, over samples [first, last).
std::vector<ValueStatistics> statistics_of(const Dataset& dataset, Range samples) {
  const std::int64_t points = dataset.points();
  const auto inputs = static_cast<std::size_t>(dataset.in_channels()), outputs = static_cast<std::size_t>(dataset.out_channels());
  std::vector<ValueStatistics> statistics(inputs + outputs);
  std::vector<float> fields((inputs + outputs) * static_cast<std::size_t>(points));
  std::vector<double> values(static_cast<std::size_t>(points));
  for (std::int64_t sample = samples.first; sample < samples.last; ++sample) {
    dataset.read(sample, {fields.data(), fields.data() + inputs * values.size(), nullptr});
    for (std::size_t channel = 0; channel < statistics.size(); ++channel) {
      std::copy_n(fields.data() + channel * values.size(), values.size(), values.data());
      statistics[channel].add(values);
    }
  }
  return statistics;
}

void set_constants(std::vector<Channel>& channels, const Moments* moments) {
  for (Channel& channel : channels) {
    channel.mean = moments->mean;
    channel.std = std::sqrt(moments->squares / (moments->count - 1.0)) + kEps;
    ++moments;
  }
}

void copy_constants(std::vector<Channel>& to, const std::vector<Channel>& from) {
  for (std::size_t index = 0; index < to.size(); ++index) {
    to[index].shift = from[index].shift, to[index].mean = from[index].mean, to[index].std = from[index].std;
  }
}

std::vector<double> collected(const std::vector<Channel>& channels, double Channel::*constant) {
  std::vector<double> values;
  for (const Channel& channel : channels) values.push_back(channel.*constant);
  return values;
}

}  // namespace

void check_fitted(const DataEntry& entry) {
  if (entry.problem) {
    throw ConfigError(concat("problem \"", *entry.problem, "\" has constants of its own; set data.normalization to given"));
  }
  if (entry.mean.empty() && entry.std.empty() && entry.input_mean.empty() && entry.input_std.empty()) return;
  throw ConfigError("mean, std, input_mean and input_std are measured with data.normalization: fitted; leave them out, or set it to given");
}

Problem fitted_problem(const Dataset& dataset, Communicator& world) {
  if (dataset.is_complex()) {
    throw ConfigError(concat("data.normalization: the fields of \"", dataset.problem().name,
                             "\" are complex, and only real ones are measured; set it to ",
                             "given, and mean, mean_imag and std as trident inspect --statistics finds them"));
  }
  const std::int64_t blocks = std::min(kBlocks, dataset.size());
  const std::int64_t channels = dataset.in_channels() + dataset.out_channels();
  const Tensor table = zeros({blocks, channels, 3}, DType::f64);
  const Range mine = part_of(blocks, world.size(), world.rank());
  for (std::int64_t block = mine.first; block < mine.last; ++block) {
    const std::vector<ValueStatistics> statistics = statistics_of(dataset, part_of(dataset.size(), blocks, block));
    double* row = table.data<double>() + block * channels * 3;
    for (const ValueStatistics& channel : statistics) {
      const Moments& moments = channel.moments();
      for (const double number : {moments.count, moments.mean, moments.squares}) *row++ = number;
    }
  }
  world.all_reduce(table, ReduceOp::sum);  // a number and zeros: exact
  std::vector<Moments> moments(static_cast<std::size_t>(channels));
  const double* row = table.data<double>();
  for (std::int64_t block = 0; block < blocks; ++block) {
    for (Moments& channel : moments) channel.join({row[0], row[1], row[2]}), row += 3;
  }
  if (!moments.empty() && moments.front().count < 2.0) {
    throw ConfigError("data.normalization: one point of one sample has no deviation; give more samples, or mean and std");
  }
  Problem problem = dataset.problem();
  set_constants(problem.input, moments.data());
  set_constants(problem.output, moments.data() + dataset.in_channels());
  return problem;
}

Dataset normalized_as(const Dataset& dataset, const Problem& problem) {
  if (problem.input.size() != dataset.problem().input.size() || problem.output.size() != dataset.problem().output.size()) {
    throw ConfigError(concat("data.normalization: \"", problem.name, "\" has constants of ", problem.input.size(), " input and ",
                             problem.output.size(), " output channels, the data have ", dataset.in_channels(), " and ",
                             dataset.out_channels(), "; give data of the same channels"));
  }
  std::vector<DatasetMember> members = dataset.members();
  for (DatasetMember& member : members) {
    copy_constants(member.problem.input, problem.input);
    copy_constants(member.problem.output, problem.output);
  }
  return Dataset(std::move(members));
}

void give_constants(DataConfig& config, const Problem& problem) {
  config.normalization = Normalization::given;
  for (std::vector<DataEntry>* entries : {&config.train, &config.validation}) {
    for (DataEntry& entry : *entries) {
      entry.mean = collected(problem.output, &Channel::mean), entry.std = collected(problem.output, &Channel::std);
      entry.input_mean = collected(problem.input, &Channel::mean), entry.input_std = collected(problem.input, &Channel::std);
    }
  }
}

}  // namespace trident
