/// Errors of samples, one row each: all that an evaluation reports follows from this table, so it does not depend on how samples were
/// divided over ranks and batches.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/model.h"
#include "parallel/mesh.h"
#include "runtime/config.h"

namespace trident {

/// summary: statistics of the relative errors. full: also of the absolute ones, and the errors of every sample.
enum class MetricsDetail { summary, full };

class ErrorTable {
 public:
  struct Options {
    std::vector<ChannelGroup> groups;      // reported
    std::vector<std::string> group_names;  // "rho", "uv", "p"
    LossDescription loss;
    std::int64_t out_channels = 1;
    std::int64_t points = 1;  // of a channel
    Mesh mesh = {};
    AxisSet sample_axes = Axis::data;                     // whose ranks have different samples
    AxisSet part_axes = Axis::domain_y | Axis::domain_x;  // whose ranks have parts of the same samples
  };
  explicit ErrorTable(Options options);

  /// One row a sample: `samples` are their numbers in the data set. prediction, label: (batch, channel, y, x), also this rank's
  /// rectangle of the fields. Collective over domain_y and domain_x.
  void add(const std::vector<std::int64_t>& samples, const Tensor& prediction, const Tensor& label);
  /// The same of patches that all ranks share: `samples` are those of the whole batch; prediction and fields.label as a model of patches
  /// gives and takes them. Collective over data and domain.
  void add_patches(const std::vector<std::int64_t>& samples, const Tensor& prediction, const Fields& fields);
  /// Every rank's rows on every rank, in the order of the samples; what the domain ranks know of their parts of a sample is added up.
  /// Collective.
  void gather();

  std::int64_t num_samples() const { return static_cast<std::int64_t>(rows_.size()); }
  /// The training loss of all samples as one batch; of losses that add up norms: a sample's mean.
  double loss() const { return loss_of(0, rows_.size()); }
  /// The mean over batches of consecutive samples, weighted by their size.
  double loss_of_batches(std::int64_t batch_size) const;
  /// In percent, by the names of the reference: "mean_relative_l1_error", "uv/median_relative_l1_error", ...
  ConfigValue metrics(MetricsDetail detail) const;

 private:
  /// Sums over a group of channels.
  struct Sums {
    double error = 0.0, label = 0.0;
  };
  struct Row {
    std::int64_t sample = 0;
    // Per group reported: of magnitudes; then per group of the loss: of their p-th powers, or, if it is of norms, one error: the sum of the
    // sample's terms.
    std::vector<Sums> sums;
  };
  /// Sums of one row of a part (channel, y, x) of `points` points are added to the row.
  template <class T>
  void add_sums(Row& row, const T* prediction, const T* label, std::int64_t points) const;
  template <class T>
  void add_rows(const std::vector<std::int64_t>& samples, const std::vector<std::int64_t>& sample_of, const Tensor& prediction,
                const Tensor& label, const Tensor& terms);
  void add_all(const std::vector<std::int64_t>& samples, const std::vector<std::int64_t>& sample_of, const Tensor& prediction,
               const Tensor& label, const Tensor& terms);
  double loss_of(std::size_t first, std::size_t last) const;
  double norm_loss_of(std::size_t first, std::size_t last) const;
  std::vector<double> errors(std::size_t group, bool relative) const;

  Options options_;
  std::vector<ChannelGroup> loss_groups_;  // one of all channels if the loss is absolute; none if it is of norms
  std::vector<Row> rows_;
};

}  // namespace trident
