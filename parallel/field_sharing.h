/// Whole fields on the first rank of a mesh, and what each rank holds of them; ranks of the tensor axis hold the same.
#pragma once

#include <vector>

#include "parallel/agreement.h"
#include "parallel/mesh.h"
#include "parallel/range.h"

namespace trident {

/// A rectangle of some samples' fields.
struct FieldPiece {
  Range samples;
  Rectangle rectangle;
  std::int64_t points() const { return samples.size() * rectangle.rows.size() * rectangle.columns.size(); }
};

/// What a rank holds of a batch: pieces with rectangles of one size, one behind the other along the first axis. At least one, maybe of no
/// samples.
using FieldPieces = std::vector<FieldPiece>;
/// Along the first axis: the samples of all pieces.
std::int64_t rows_of(const FieldPieces& pieces);

class FieldSharing {
 public:
  /// `own`: this rank's pieces of `samples` fields of ny x nx points; `num_dims` axes of space (1: ny is 1, and fields have no such axis).
  /// Collective, as the next two.
  FieldSharing(const Mesh& mesh, FieldPieces own, std::int64_t samples, std::int64_t ny, std::int64_t nx, int num_dims);

  /// `whole` (samples, ..., y, x) is read on rank 0 alone; `between` are the extents of the axes in between. `agree` hears of memory that a
  /// rank lacks.
  Tensor scatter(const Tensor& whole, const Shape& between, DType dtype, const Agree& agree) const;
  /// On the host of rank 0, else undefined. part: (own rows, ..., rows, columns), on any device.
  Tensor gather(const Tensor& part, const Agree& agree) const;

 private:
  struct Part {
    FieldPieces pieces;
    bool gathered = true;  // one rank of each tensor axis
    std::int64_t points() const;
  };
  const Part& own() const;

  Mesh mesh_;
  std::int64_t num_samples_, ny_, nx_;
  bool has_rows_;
  std::vector<Part> parts_;  // by rank of mesh.world()
};

}  // namespace trident
