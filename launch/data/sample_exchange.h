/// Samples that can only be read whole (Fourier downsampling needs all of a field): of each batch a domain rank reads its share of the
/// samples, and then the ranks exchange their rectangles of them, so that every field is read once.
#pragma once

#include <vector>

#include "models/model.h"
#include "parallel/mesh.h"
#include "parallel/range.h"

namespace trident {

class SampleExchange {
 public:
  /// `own`: this rank's rectangle of the last two axes of the samples' fields; `axes` of space. Collective over the domain.
  SampleExchange(const Mesh& mesh, const Rectangle& own, int axes);

  /// Which of `samples` samples this rank reads.
  Range share(std::int64_t samples) const { return part_of(samples, static_cast<std::int64_t>(rectangles_.size()), rank_); }
  /// Whole fields of this rank's share become its rectangles of all samples; time is that of all already. Collective over the domain.
  void complete(Fields& fields, std::int64_t samples) const;

 private:
  Tensor rectangles_of_all(const Tensor& whole, std::int64_t samples) const;
  Tensor rows_of_all(const Tensor& rows, std::int64_t samples) const;

  Mesh mesh_;
  int axes_, rank_;
  std::vector<Rectangle> rectangles_;  // by domain rank
};

}  // namespace trident
