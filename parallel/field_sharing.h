/// Whole fields on the first rank of a mesh, and their parts on all of them: samples by the data axis, rectangles of the last two axes by
/// the domain axes; ranks of the tensor axis hold the same.
#pragma once

#include <vector>

#include "parallel/mesh.h"
#include "parallel/range.h"

namespace trident {

class FieldSharing {
 public:
  /// `rectangle`: this rank's, of fields of ny x nx points; `num_dims` axes of space (1: ny is 1, and fields have no such axis). Collective.
  FieldSharing(const Mesh& mesh, std::int64_t samples, const Rectangle& rectangle, std::int64_t ny, std::int64_t nx, int num_dims);

  Range samples() const { return own().samples; }
  /// `whole` (samples, ..., y, x) is read on rank 0 alone; `between` are the extents of the axes in between. Collective, as the next.
  Tensor scatter(const Tensor& whole, const Shape& between, DType dtype) const;
  /// On rank 0, else undefined. part: (own samples, ..., own rows, own columns).
  Tensor gather(const Tensor& part) const;

 private:
  struct Part {
    Range samples;
    Rectangle rectangle;
    bool gathered = true;  // one rank of each tensor axis
    std::int64_t points() const { return samples.size() * rectangle.rows.size() * rectangle.columns.size(); }
  };
  const Part& own() const;
  Tensor view_of(const Tensor& whole, const Part& part) const;

  Mesh mesh_;
  std::int64_t num_samples_, ny_, nx_;
  bool has_rows_;
  std::vector<Part> parts_;  // by rank of mesh.world()
};

}  // namespace trident
