/// Boxes of index ranges: how a part of a tensor in one layout meets a part in another.
#pragma once

#include <vector>

#include "parallel/parameter.h"

namespace trident {

using Box = std::vector<Range>;  // per dimension

std::int64_t num_elements(const Box& box);
Shape extents_of(const Box& box);
Box whole_box(const Shape& shape);
/// Empty ranges where they do not meet.
Box intersection(const Box& a, const Box& b);
/// The part `inner` of a contiguous tensor that holds `outer` row by row (in any shape). `inner` lies inside `outer`.
Tensor part_of_box(const Tensor& values, const Box& outer, const Box& inner);
/// Copies what `source`, which holds `source_box`, has of `target_box` into `target`, converting the number type. Returns the number of
/// elements copied.
std::int64_t copy_overlap(const Tensor& target, const Box& target_box, const Tensor& source, const Box& source_box);

}  // namespace trident
