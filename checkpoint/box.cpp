#include "checkpoint/box.h"

#include <algorithm>

#include "runtime/tensor/copy.h"
#include "runtime/tensor/view.h"

namespace trident {

std::int64_t num_elements(const Box& box) {
  std::int64_t count = 1;
  for (const Range& range : box) count *= range.size();
  return count;
}

Shape extents_of(const Box& box) {
  Shape shape;
  for (const Range& range : box) shape.push_back(range.size());
  return shape;
}

Box whole_box(const Shape& shape) {
  Box box;
  for (const std::int64_t extent : shape) box.push_back({0, extent});
  return box;
}

Box intersection(const Box& a, const Box& b) {
  Box result;
  for (std::size_t dim = 0; dim < a.size(); ++dim) {
    const std::int64_t first = std::max(a[dim].first, b[dim].first);
    result.push_back({first, std::max(first, std::min(a[dim].last, b[dim].last))});
  }
  return result;
}

Tensor part_of_box(const Tensor& values, const Box& outer, const Box& inner) {
  const Shape extents = extents_of(outer);
  Tensor part = values.shape() == extents ? values : view::reshape(values, extents);  // the former may have any strides
  for (std::size_t dim = 0; dim < outer.size(); ++dim) {
    part = view::slice(part, static_cast<int>(dim), inner[dim].first - outer[dim].first, inner[dim].last - outer[dim].first);
  }
  return part;
}

std::int64_t copy_overlap(const Tensor& target, const Box& target_box, const Tensor& source, const Box& source_box) {
  const Box common = intersection(target_box, source_box);
  const std::int64_t count = num_elements(common);
  if (count > 0) copy_into(part_of_box(target, target_box, common), part_of_box(source, source_box, common));
  return count;
}

}  // namespace trident
