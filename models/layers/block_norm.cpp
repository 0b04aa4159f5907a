#include "models/layers/block_norm.h"

#include "parallel/collectives.h"
#include "runtime/ops/elementwise.h"
#include "runtime/ops/group_norm.h"
#include "runtime/ops/matmul.h"
#include "runtime/ops/reduce.h"
#include "runtime/ops/shape.h"

namespace trident {
namespace {

constexpr double kEps = 1e-5;            // torch's default, which the reference leaves as it is
constexpr std::int64_t kAdaptive = 512;  // hidden numbers of ada_in

/// group_norm, also of a part of a field: with sums over the ranks that share it, first of numbers, then of squared distances.
Tensor normalised(const Tensor& x, const FieldPlace& place, std::int64_t groups, const Tensor& scale, const Tensor& shift) {
  if (place.is_whole()) return group_norm(x, groups, scale, shift, kEps);
  const std::int64_t batch = x.size(0), channels = x.size(1);
  std::int64_t numbers = channels / groups;
  for (int dim = 2; dim < x.rank(); ++dim) numbers *= x.size(dim);
  const Tensor grouped = reshape(cast(x, parameter_type(x.dtype())), {batch, groups, numbers});
  const double share = 1.0 / (place.points() * static_cast<double>(channels / groups));
  const auto mean_of = [&](const Tensor& y) {
    return affine(all_reduce_sum(place.mesh(), Axis::domain_y | Axis::domain_x, sum(y, {2})), share);
  };
  const Tensor distance = grouped - mean_of(grouped);
  const Tensor normal = reshape(distance / power(affine(mean_of(distance * distance), 1.0, kEps), 0.5), x.shape());
  if (!scale.defined()) return cast(normal, x.dtype());
  Shape shape = per_channel(x.rank(), channels);
  if (scale.rank() == 2) shape[0] = batch;
  return cast(normal * reshape(scale, shape) + reshape(shift, shape), x.dtype());
}

}  // namespace

BlockNorm::Affine::Affine(std::int64_t in, std::int64_t out)
    : weight(whole_parameter({out, in}, torch_init(in))), bias(whole_parameter({out}, torch_init(in))) {}

BlockNorm::BlockNorm(BlockNormKind kind, std::int64_t channels, std::int64_t groups, const Mesh& mesh)
    : norm_(make(kind, channels, groups, mesh)) {}

std::variant<BlockNorm::Instance, BlockNorm::Group, BlockNorm::Batch, BlockNorm::Adaptive> BlockNorm::make(BlockNormKind kind,
                                                                                                           std::int64_t channels,
                                                                                                           std::int64_t groups,
                                                                                                           const Mesh& mesh) {
  switch (kind) {
    case BlockNormKind::group_norm:
      return Group{whole_parameter({channels}, Init::constant(1.0)), whole_parameter({channels}, Init::constant(0.0)), groups};
    case BlockNormKind::batch_norm:
      return Batch{BatchNorm(channels, mesh)};
    case BlockNormKind::ada_in:
      return Adaptive{Affine(1, kAdaptive), Affine(kAdaptive, 2 * channels)};
    case BlockNormKind::instance_norm:
      break;
  }
  return Instance{};
}

Tensor BlockNorm::operator()(const Tensor& x, const FieldPlace& place, const Tensor& time, Mode mode) const {
  const std::int64_t batch = x.size(0), channels = x.size(1);
  if (const auto* group = std::get_if<Group>(&norm_)) return normalised(x, place, group->groups, group->weight.value, group->bias.value);
  if (const auto* whole = std::get_if<Batch>(&norm_)) {
    std::int64_t points = 1;  // told, because a batch may be empty
    for (int dim = 2; dim < x.rank(); ++dim) points *= x.size(dim);
    return reshape(whole->norm(reshape(x, {batch, channels, 1, points}), mode), x.shape());
  }
  if (const auto* adaptive = std::get_if<Adaptive>(&norm_)) {
    const Affine &up = adaptive->up, &down = adaptive->down;
    const Tensor affine = mlp(reshape(time, {batch, 1}), up.weight.value, up.bias.value, down.weight.value, down.bias.value);
    return normalised(x, place, channels, slice(affine, 1, 0, channels), slice(affine, 1, channels, 2 * channels));
  }
  return normalised(x, place, channels, {}, {});
}

}  // namespace trident
