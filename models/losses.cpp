#include "models/losses.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "models/mg_tfno/patch_loss.h"
#include "models/split_norm.h"
#include "runtime/autograd/tape.h"
#include "runtime/error.h"
#include "runtime/ops/complex.h"
#include "runtime/ops/elementwise.h"
#include "runtime/tensor/constant.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"

namespace trident {
namespace {

constexpr double kSmallest = 1e-10;  // added to the mean of |label|^p by the reference

constexpr AxisSet kBatchAxes = (Axis::data | Axis::domain_y) | Axis::domain_x;
constexpr AxisSet kDomainAxes = Axis::domain_y | Axis::domain_x;

/// error_sums(), of complex fields those of magnitudes.
Tensor sums_of(const Tensor& a, const Tensor& b, const std::vector<ChannelGroup>& groups, int p) {
  if (!is_complex(a.dtype())) return error_sums(a, b, groups, p);
  return error_sums(magnitude(b.defined() ? a - b : a), {}, groups, p);
}

}  // namespace

Loss::Loss(LossDescription description, int num_out_channels, LossScope scope, const Mesh& mesh)
    : description_(std::move(description)), groups_(description_.groups), scope_(scope), mesh_(mesh) {
  for (const ChannelGroup& group : groups_) {
    if (group.first < 0 || group.first >= group.last || group.last > num_out_channels) {
      throw ConfigError(concat("loss: channels [", group.first, ", ", group.last, ") do not fit a model of ", num_out_channels,
                               " output channels; change channel_slice_list_normalized_loss or num_out_channels"));
    }
  }
  if (groups_.empty()) groups_.push_back({0, num_out_channels});
  if (description_.norm && scope_ == LossScope::per_rank) {
    throw ConfigError("loss: norms belong to samples, not to a rank's batch; set training.loss_scope to global");
  }
}

Tensor Loss::local_sums(const Tensor& label) const {
  const auto groups = static_cast<std::int64_t>(groups_.size());
  const Tensor sums = zeros({groups + 1}, DType::f64, label.device());
  copy_into(view::slice(sums, 0, 0, groups), sums_of(label, {}, groups_, description_.p));
  double points = static_cast<double>(label.size(0));
  for (int dim = 2; dim < label.rank(); ++dim) points *= static_cast<double>(label.size(dim));
  copy_into(view::slice(sums, 0, groups, groups + 1), full({1}, points, DType::f64, label.device()));
  return sums;
}

std::int64_t Loss::num_terms(const Fields& fields) const {
  const std::int64_t channels = fields.label.size(1);
  if (!stitches(fields)) {
    const bool cut = description_.patches && !fields.patches && !description_.patches->of_whole_fields;
    std::int64_t terms = fields.label.size(0) * channels * (cut ? description_.patches->per_side * description_.patches->per_side : 1);
    // A norm over some of the space axes has a term for each point of the others.
    for (int dim = 2; dim < fields.label.rank() - description_.norm->axes; ++dim) terms *= fields.label.size(dim);
    return terms;
  }
  return mesh_.comm(kBatchAxes).rank() == 0 ? fields.patches->samples * channels : 0;  // every rank sees all samples
}

LossTotals Loss::totals(std::span<const Fields> micro_batches) const {
  LossTotals totals{.sums = {}, .micro_batches = static_cast<std::int64_t>(micro_batches.size())};
  if (scope_ == LossScope::per_rank) return totals;
  const Recording off(false);
  if (description_.norm) {
    std::int64_t terms = 0;
    for (const Fields& fields : micro_batches) terms += num_terms(fields);
    const Tensor sum = full({1}, static_cast<double>(terms), DType::f64);
    mesh_.comm(micro_batches.front().patches ? kBatchAxes : AxisSet(Axis::data)).all_reduce(sum, ReduceOp::sum);
    totals.terms = *sum.data<double>();  // on the host: nothing is waited for
    return totals;
  }
  totals.sums = zeros({static_cast<std::int64_t>(groups_.size()) + 1}, DType::f64, micro_batches.front().label.device());
  for (const Fields& fields : micro_batches) {
    add_into(totals.sums, local_sums(fields.patches ? without_margin(fields.label) : fields.label));
  }
  mesh_.comm(kBatchAxes).all_reduce(totals.sums, ReduceOp::sum);
  return totals;
}

LossTotals Loss::totals(std::span<const Tensor> labels) const {
  std::vector<Fields> micro_batches;
  for (const Tensor& label : labels) micro_batches.push_back({.input = {}, .time = {}, .pixel_mask = {}, .label = label});
  return totals(micro_batches);
}

/// (groups,): what each group's error sum is multiplied by to be its term of the loss.
Tensor Loss::weights(const Tensor& sums) const {
  const auto groups = static_cast<std::int64_t>(groups_.size());
  std::vector<double> channels;
  for (const ChannelGroup& group : groups_) channels.push_back(group.last - group.first);
  const Tensor channels_of = constant({groups}, channels, DType::f64, sums.device());
  const Tensor elements = view::slice(sums, 0, groups, groups + 1) * channels_of;
  const Tensor divisors = description_.groups.empty() ? elements : view::slice(sums, 0, 0, groups) + affine(elements, kSmallest);
  return full({groups}, 1.0 / static_cast<double>(groups), DType::f64, sums.device()) / divisors;
}

Tensor Loss::share(const Tensor& output, const Fields& fields, const LossTotals& totals) const {
  if (description_.norm) return norm_share(*description_.norm, output, fields, totals);
  return ratio_share(output, fields.patches ? without_margin(fields.label) : fields.label, totals);
}

Tensor Loss::share(const Tensor& output, const Tensor& label, const LossTotals& totals) const {
  return share(output, Fields{.input = {}, .time = {}, .pixel_mask = {}, .label = label}, totals);
}

Tensor Loss::norm_share(const NormLoss& norm, const Tensor& output, const Fields& fields, const LossTotals& totals) const {
  if (description_.patches && !fields.patches && mesh_.size(kDomainAxes) > 1) {
    throw ConfigError(concat("loss: ", mesh_.size(kDomainAxes),
                             " domain ranks share the patches of mg_tfno, but this batch has whole fields; set "
                             "parallel.domain_y and parallel.domain_x to 1"));
  }
  double divisor = mesh_.size(Axis::tensor) * (norm.reduction == Reduction::mean ? totals.terms : 1.0);
  Tensor terms;
  if (stitches(fields) && fields.patches->samples % mesh_.size(kBatchAxes) == 0) {
    // Every rank has all patches of its samples: nothing is exchanged, and no rank waits for another before its backward.
    const std::int64_t per_side = description_.patches->per_side;
    terms = norm_terms(norm, stitched(output, per_side), stitched(without_margin(fields.label), per_side));
  } else if (stitches(fields)) {
    terms = stitched_norm_terms(norm, *description_.patches, output, fields, mesh_);
    divisor *= mesh_.size(kBatchAxes);  // every rank has the terms of all samples
  } else if (fields.patches) {
    terms = norm_terms(norm, output, without_margin(fields.label));
  } else if (description_.patches && !description_.patches->of_whole_fields) {
    const std::int64_t per_side = description_.patches->per_side;
    terms = norm_terms(norm, cut_into_patches(output, per_side), cut_into_patches(fields.label, per_side));
  } else if (mesh_.size(kDomainAxes) > 1) {
    terms = split_norm_terms(norm, output, fields.label, mesh_);
    divisor *= mesh_.size(kDomainAxes);
  } else {
    terms = norm_terms(norm, output, fields.label);
  }
  return affine(sum(terms), 1.0 / divisor);
}

Tensor Loss::ratio_share(const Tensor& output, const Tensor& label, const LossTotals& totals) const {
  double divisor = mesh_.size(Axis::tensor);  // every rank of the tensor axis computes the same loss
  Tensor factors;
  {
    const Recording off(false);
    Tensor sums = totals.sums;
    if (scope_ == LossScope::per_rank) {
      if (label.size(0) == 0) {
        throw ConfigError(
            "loss: per_rank needs samples on every rank in every micro-batch; choose a global_batch_size that all ranks divide");
      }
      sums = local_sums(label);
      mesh_.comm(kDomainAxes).all_reduce(sums, ReduceOp::sum);
      divisor *= static_cast<double>(mesh_.size(Axis::data)) * static_cast<double>(totals.micro_batches);
    }
    factors = cast(affine(weights(sums), 1.0 / divisor), real_of(output.dtype()));
  }
  return sum(sums_of(output, label, groups_, description_.p) * factors);
}

}  // namespace trident
