/// The arithmetic of reductions over ranks: what each rank sent, combined in rank order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "parallel/communicator.h"

namespace trident {

/// Throws ShapeError, naming `call`, unless `op` has a meaning for the number type.
void require_combinable(const char* call, DType dtype, ReduceOp op);

/// target = parts[0] op parts[1] op ..., element by element; `target` may be one of the parts.
void combine_in_order(DType dtype, std::span<std::byte* const> parts, std::byte* target, std::int64_t bytes, ReduceOp op);

}  // namespace trident
