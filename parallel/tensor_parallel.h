/// The tensor axis: how its ranks share out the products of a layer, and how they put the results together.
///
/// The first product of a branch is split by rows of its weight (output features), the second by columns: each rank computes an addend of
/// the branch, from its own heads or hidden columns, and the addends are summed before anything that is not linear.
#pragma once

#include "parallel/parameter.h"

namespace trident {

/// Ranges of rows, or of columns, of a weight (out, in).
enum class SplitAlong { rows, columns };

/// One piece of a tensor that the ranks of the tensor axis share out along dimension `dim`; this rank holds `own` of it.
Parameter split_parameter(const Shape& full_shape, int dim, Range own, Init init, const Mesh& mesh);
/// The axes over which ranks hold the same part of what the tensor axis shares out.
AxisSet beside_tensor(const Mesh& mesh);

/// Heads, or hidden columns, that this rank computes of layers where all cost the same.
Range own_units(const Mesh& mesh, std::int64_t units);
/// The hidden columns of an MLP that this rank computes, beside its share of the heads of an attention of the same width: ranks with fewer
/// heads take more columns, so that all are equally busy.
Range own_columns(const Mesh& mesh, std::int64_t hidden, std::int64_t width, std::int64_t heads);

/// A bias on its way into a sum over the tensor axis: itself on the first rank, zeros on the others, which record a product like it because
/// the tapes of all ranks are the same.
Tensor added_once(const Mesh& mesh, const Tensor& bias);

}  // namespace trident
