/// Differentiable exchanges. The backward of each is its exact adjoint, so that the objective is the sum of the ranks' loss shares and
/// nothing is averaged or scaled afterwards. Rows are the first dimension; ranks may have different numbers of them, also none.
/// Every rank records the same calls in the same order. Each waits for the mesh's stream. Throws ShapeError for counts that do not fit.
#pragma once

#include <cstdint>
#include <vector>

#include "parallel/mesh.h"

namespace trident {

/// The sum over the ranks of `axes`, on each of them; x itself for one rank. Adjoint: itself.
Tensor all_reduce_sum(const Mesh& mesh, AxisSet axes, const Tensor& x);
/// The same in place and not recorded.
void sum_in_place(const Mesh& mesh, AxisSet axes, const Tensor& x);
/// x: (counts[own], ...) -> (sum of counts, ...): the ranks' rows in rank order. Adjoint: reduce_scatter.
Tensor all_gather(const Mesh& mesh, AxisSet axes, const Tensor& x, const std::vector<std::int64_t>& counts);
/// x: (sum of counts, ...) -> (counts[own], ...): the own rows of the sum over ranks. Adjoint: all_gather.
Tensor reduce_scatter(const Mesh& mesh, AxisSet axes, const Tensor& x, const std::vector<std::int64_t>& counts);
/// x: (sum of send_counts, ...) -> (sum of receive_counts, ...): `send_counts[r]` rows go to rank r. Adjoint: the way back.
Tensor all_to_all(const Mesh& mesh, AxisSet axes, const Tensor& x, const std::vector<std::int64_t>& send_counts,
                  const std::vector<std::int64_t>& receive_counts);
/// x of rank `root`; the others pass a tensor of the same shape. Adjoint: the sum over ranks, at the root.
Tensor broadcast(const Mesh& mesh, AxisSet axes, const Tensor& x, int root);

}  // namespace trident
