/// Losses made of norms over space, one for each sample and channel: neuraloperator's LpLoss and H1Loss.
#pragma once

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "runtime/ops/complex.h"
#include "runtime/ops/elementwise.h"
#include "runtime/ops/field_norm.h"
#include "runtime/ops/shape.h"
#include "runtime/tensor/tensor.h"

namespace trident {

enum class NormKind { lp, h1 };
inline auto config_names(NormKind) { return std::array{std::pair{NormKind::lp, "lp"}, std::pair{NormKind::h1, "h1"}}; }
/// relative: to the norm of the label.
enum class Relation { relative, absolute };
inline auto config_names(Relation) {
  return std::array{std::pair{Relation::relative, "relative"}, std::pair{Relation::absolute, "absolute"}};
}
/// Over samples and channels.
enum class Reduction { sum, mean };
inline auto config_names(Reduction) { return std::array{std::pair{Reduction::sum, "sum"}, std::pair{Reduction::mean, "mean"}}; }

/// h1: the root of the sums of e^2 and of the squares of its first derivatives; lp: the p-th root of the sum of |e|^p.
/// Absolute norms are integrals: their sums are multiplied by the product of the spacings, measure / points. Derivatives are central
/// differences; at the ends of an axis that is not periodic they are one-sided, of third order.
struct NormLoss {
  NormKind kind = NormKind::lp;
  int axes = 2;      // of space, the last ones
  double p = 2.0;    // of lp
  bool root = true;  // false: the sums themselves
  Relation relation = Relation::relative;
  Reduction reduction = Reduction::sum;
  double eps = 1e-8;                  // added to the norm of the label
  std::vector<double> measure = {};   // the domain's extent along each space axis; empty: 1
  std::vector<bool> periodic = {};    // of h1, per space axis; empty: all are
  std::vector<double> spacings = {};  // per space axis, instead of measure / points

  bool is_periodic(int axis) const { return periodic.empty() || periodic[static_cast<std::size_t>(axis)]; }
};

/// Distances between points along each space axis of a whole field of `points` points.
std::vector<double> spacings_of(const NormLoss& loss, const std::vector<std::int64_t>& points);
/// The points along the space axes of x.
std::vector<std::int64_t> points_of(const NormLoss& loss, const Tensor& x);

/// The neighbours of a whole field, as the loss says what lies beyond its ends.
std::vector<Neighbours> neighbours_of(const NormLoss& loss, const Tensor& x);
/// Sums of a field by those of real ones: sums(x) itself; of a complex field the sums of its magnitudes (lp), or of both parts (h1).
template <class Sums>
Tensor sums_of_reals(const NormLoss& loss, const Tensor& x, const Sums& sums) {
  if (!is_complex(x.dtype())) return sums(x);
  return loss.kind == NormKind::lp ? sums(magnitude(x)) : sums(contiguous(real(x))) + sums(contiguous(imag(x)));
}

/// (leading...) sums whose roots are the norms of x, of which other ranks may hold more: sums come first, roots afterwards.
Tensor norm_sums(const NormLoss& loss, const Tensor& x, const std::vector<double>& spacings, const std::vector<Neighbours>& neighbours);
/// (leading...) the loss of each sample and channel, from whole sums of the error and of the label.
Tensor norm_terms(const NormLoss& loss, const Tensor& error_sums, const Tensor& label_sums, const std::vector<double>& spacings);

/// Of whole fields: (leading...), a term for each sample and channel. Gradients to both.
Tensor norm_terms(const NormLoss& loss, const Tensor& output, const Tensor& label);
/// The sum or mean of the terms: (1,).
Tensor norm_loss(const NormLoss& loss, const Tensor& output, const Tensor& label);

}  // namespace trident
