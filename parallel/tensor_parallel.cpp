#include "parallel/tensor_parallel.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "runtime/ops/elementwise.h"

namespace trident {
namespace {

/// Multiply-adds of a block for each token are 4 width^2 in attention's projections, shared out by heads, and 2 width hidden in the MLP:
/// what a rank's heads leave of an even share, in a common unit that keeps it whole.
std::vector<std::int64_t> column_weights(std::int64_t ranks, std::int64_t hidden, std::int64_t width, std::int64_t heads) {
  std::vector<std::int64_t> weights;
  for (const std::int64_t own : part_sizes(heads, ranks)) {
    weights.push_back(std::max<std::int64_t>(0, (4 * width + 2 * hidden) * heads - 4 * width * own * ranks));
  }
  return weights;
}

}  // namespace

AxisSet beside_tensor(const Mesh& mesh) { return mesh.size(Axis::tensor) == 1 ? AxisSet::all() : AxisSet::all().without(Axis::tensor); }

Parameter split_parameter(const Shape& full_shape, int dim, Range own, Init init, const Mesh& mesh) {
  Parameter parameter = whole_parameter(full_shape, init);
  parameter.shape[dim] = own.size();
  parameter.pieces.front().owned[static_cast<std::size_t>(dim)] = own;
  parameter.replicated = beside_tensor(mesh);
  return parameter;
}

Range own_units(const Mesh& mesh, std::int64_t units) { return part_of(units, mesh.size(Axis::tensor), mesh.coordinate(Axis::tensor)); }

Range own_columns(const Mesh& mesh, std::int64_t hidden, std::int64_t width, std::int64_t heads) {
  const std::vector<std::int64_t> weights = column_weights(mesh.size(Axis::tensor), hidden, width, heads);
  const std::int64_t total = std::accumulate(weights.begin(), weights.end(), std::int64_t{0});
  const auto boundary = [&](int rank) {
    const std::int64_t before = std::accumulate(weights.begin(), weights.begin() + rank, std::int64_t{0});
    return (hidden * before + total - 1) / total;
  };
  const int rank = mesh.coordinate(Axis::tensor);
  return {boundary(rank), boundary(rank + 1)};
}

Tensor added_once(const Mesh& mesh, const Tensor& bias) {
  if (!bias.defined() || mesh.size(Axis::tensor) == 1) return bias;
  return affine(bias, mesh.coordinate(Axis::tensor) == 0 ? 1.0 : 0.0);
}

}  // namespace trident
