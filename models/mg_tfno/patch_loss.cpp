#include "models/mg_tfno/patch_loss.h"

#include <algorithm>
#include <array>
#include <vector>

#include "parallel/collectives.h"
#include "runtime/error.h"
#include "runtime/ops/elementwise.h"
#include "runtime/ops/reduce.h"
#include "runtime/ops/shape.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

constexpr AxisSet kBatchAxes = (Axis::data | Axis::domain_y) | Axis::domain_x;

enum Side { before, after };

/// Which unit lies on which side, and who holds it.
class Neighbourhood {
 public:
  Neighbourhood(const PatchLoss& patches, const PatchUnits& own, const Mesh& mesh)
      : per_side_(patches.per_side),
        total_(own.samples * per_side_ * per_side_),
        ranks_(mesh.size(kBatchAxes)),
        rank_(mesh.comm(kBatchAxes).rank()) {}

  int rank() const { return rank_; }
  int ranks() const { return ranks_; }
  Range units(int rank) const { return part_of(total_, ranks_, rank); }
  int owner(std::int64_t unit) const {
    int rank = static_cast<int>(unit * ranks_ / std::max<std::int64_t>(1, total_));
    while (unit < units(rank).first) --rank;
    while (unit >= units(rank).last) ++rank;
    return rank;
  }
  /// Along axis 0 (rows of patches) or 1 (columns), around the field's edges.
  std::int64_t neighbour(std::int64_t unit, int axis, Side side) const {
    const std::int64_t place = place_of(unit, axis), moved = (place + (side == before ? per_side_ - 1 : 1)) % per_side_;
    return unit + (moved - place) * (axis == 0 ? per_side_ : 1);
  }
  bool at_edge(std::int64_t unit, int axis, Side side) const { return place_of(unit, axis) == (side == before ? 0 : per_side_ - 1); }

 private:
  std::int64_t place_of(std::int64_t unit, int axis) const { return axis == 0 ? unit / per_side_ % per_side_ : unit % per_side_; }

  std::int64_t per_side_, total_;
  int ranks_, rank_;
};

/// How the patches' outer rows (or columns) reach the patches beside them. Every rank lists what each wants, so nobody asks.
struct BorderPlan {
  std::vector<std::int64_t> sent;  // rows of this rank's table (before edges of all units, then after edges), by receiving rank
  std::vector<std::int64_t> send_counts, receive_counts;
  std::vector<std::int64_t> place;  // of what each (side, own unit) wants among what is received
};

BorderPlan border_plan(const Neighbourhood& hood, int axis) {
  BorderPlan plan;
  const auto ranks = static_cast<std::size_t>(hood.ranks());
  plan.send_counts.assign(ranks, 0);
  plan.receive_counts.assign(ranks, 0);
  const Range own = hood.units(hood.rank());
  for (int rank = 0; rank < hood.ranks(); ++rank) {
    const Range theirs = hood.units(rank);
    for (const Side side : {before, after}) {
      for (std::int64_t unit = theirs.first; unit < theirs.last; ++unit) {
        const std::int64_t source = hood.neighbour(unit, axis, side);
        if (source < own.first || source >= own.last) continue;
        // What lies before a patch is the last row of the one before it.
        plan.sent.push_back((side == before ? own.size() : 0) + source - own.first);
        ++plan.send_counts[static_cast<std::size_t>(rank)];
      }
    }
  }
  std::vector<int> owners;
  for (const Side side : {before, after}) {
    for (std::int64_t unit = own.first; unit < own.last; ++unit) owners.push_back(hood.owner(hood.neighbour(unit, axis, side)));
  }
  for (const int owner : owners) ++plan.receive_counts[static_cast<std::size_t>(owner)];
  std::vector<std::int64_t> next(ranks, 0);
  for (std::size_t rank = 1; rank < ranks; ++rank) next[rank] = next[rank - 1] + plan.receive_counts[rank - 1];
  for (const int owner : owners) plan.place.push_back(next[static_cast<std::size_t>(owner)]++);
  return plan;
}

Tensor index_of(const std::vector<std::int64_t>& values, Device device) {
  return from_values<std::int64_t>({static_cast<std::int64_t>(values.size())}, values, device);
}

/// The rows (or columns) of the error that lie beside each of this rank's patches.
Neighbours exchanged(const Mesh& mesh, const Neighbourhood& hood, const Tensor& error, int axis) {
  const BorderPlan plan = border_plan(hood, axis);
  const int dim = axis + 2;
  const std::int64_t units = error.size(0), last = error.size(dim);
  const Tensor table = concatenate({contiguous(slice(error, dim, 0, 1)), contiguous(slice(error, dim, last - 1, last))}, 0);
  const Tensor received =
      all_to_all(mesh, kBatchAxes, gather_rows(table, index_of(plan.sent, error.device())), plan.send_counts, plan.receive_counts);
  const Tensor sides = gather_rows(received, index_of(plan.place, error.device()));
  return {contiguous(slice(sides, 0, 0, units)), contiguous(slice(sides, 0, units, 2 * units))};
}

/// At the edges of a field that is not periodic there is no patch beside: the one-sided differences take over.
Neighbours with_edges(const Neighbourhood& hood, const Tensor& field, int axis, const Neighbours& sides) {
  const int dim = axis + 2;
  if (field.size(dim) < 4) {
    throw ConfigError(concat("mg_tfno: patches of ", field.size(2), "x", field.size(3),
                             " points are too small for the one-sided differences of a field that is not periodic, which need 4; lower "
                             "model.levels, or set training.loss_options.periodic to true"));
  }
  const Neighbours one_sided = one_sided_neighbours(field, dim);
  const auto chosen = [&](Side side, const Tensor& edge, const Tensor& inner) {
    const Tensor mask = empty({field.size(0), 1, 1, 1}, DType::boolean);
    const Range own = hood.units(hood.rank());
    for (std::int64_t unit = own.first; unit < own.last; ++unit) mask.data<bool>()[unit - own.first] = hood.at_edge(unit, axis, side);
    return where(to_device(mask, field.device()), edge, inner);
  };
  return {chosen(before, one_sided.before, sides.before), chosen(after, one_sided.after, sides.after)};
}

/// The margins of a label beside its patches.
Neighbours margins(const Tensor& label, int axis) {
  const int dim = axis + 2, other = 3 - axis;
  const Tensor inner = slice(label, other, 1, label.size(other) - 1);
  return {contiguous(slice(inner, dim, 0, 1)), contiguous(slice(inner, dim, inner.size(dim) - 1, inner.size(dim)))};
}

/// (unit, channel) -> (sample, channel), with zeros from the units of other ranks.
Tensor per_sample(const Tensor& sums, const PatchUnits& own, std::int64_t patches) {
  const std::int64_t channels = sums.size(1);
  const Tensor all = pad(sums, 0, own.units.first, own.samples * patches - own.units.last);
  return reshape(sum(reshape(all, {own.samples, patches, channels}), {1}), {own.samples, channels});
}

}  // namespace

Tensor without_margin(const Tensor& label) { return contiguous(slice(slice(label, 2, 1, label.size(2) - 1), 3, 1, label.size(3) - 1)); }

Tensor stitched_norm_terms(const NormLoss& norm, const PatchLoss& patches, const Tensor& output, const Fields& fields, const Mesh& mesh) {
  const Neighbourhood hood(patches, *fields.patches, mesh);
  const Tensor label = without_margin(fields.label), error = output - label;
  const std::vector<double> spacings = spacings_of(norm, {fields.ny, fields.nx});
  std::vector<Neighbours> of_error(2), of_label(2);
  for (int axis = 0; norm.kind == NormKind::h1 && axis < 2; ++axis) {
    const auto k = static_cast<std::size_t>(axis);
    of_error[k] = exchanged(mesh, hood, error, axis);
    of_label[k] = margins(fields.label, axis);
    if (norm.is_periodic(axis)) continue;
    of_error[k] = with_edges(hood, error, axis, of_error[k]);
    of_label[k] = with_edges(hood, label, axis, of_label[k]);
  }
  const std::int64_t of_a_sample = static_cast<std::int64_t>(patches.per_side) * patches.per_side;
  const Tensor errors = per_sample(norm_sums(norm, error, spacings, of_error), *fields.patches, of_a_sample);
  const Tensor labels = per_sample(norm_sums(norm, label, spacings, of_label), *fields.patches, of_a_sample);
  const Tensor sums = all_reduce_sum(mesh, kBatchAxes, concatenate({errors, labels}, 0));
  const std::int64_t samples = fields.patches->samples;
  return norm_terms(norm, slice(sums, 0, 0, samples), slice(sums, 0, samples, 2 * samples), spacings);
}

std::int64_t border_numbers_sent(const PatchLoss& patches, const Fields& fields, std::int64_t channels, const Mesh& mesh) {
  const Neighbourhood hood(patches, *fields.patches, mesh);
  const std::array<std::int64_t, 2> edge{fields.nx / patches.per_side, fields.ny / patches.per_side};
  const Range own = hood.units(hood.rank());
  std::int64_t numbers = 0;
  for (std::int64_t unit = own.first; unit < own.last; ++unit) {
    for (int axis = 0; axis < 2; ++axis) {
      for (const Side side : {before, after}) {
        if (hood.owner(hood.neighbour(unit, axis, side)) != hood.rank()) numbers += channels * edge[static_cast<std::size_t>(axis)];
      }
    }
  }
  return numbers;
}

}  // namespace trident
