/// Kernels that pick rows by index, and that drop elements at random.
#pragma once

#include "runtime/kernels/dispatch.h"
#include "runtime/tensor/stream_key.h"

namespace trident {

/// A table (rows, width) and `count` indices into its rows.
struct GatherExtents {
  std::int64_t rows, width, count;
};
/// The position of the first index outside of [0, rows), or -1.
std::int64_t first_outside(Cpu, const GatherExtents&, const std::int64_t* index);
template <class T>
void gather_rows(Cpu, const GatherExtents&, const T* table, const std::int64_t* index, T* y);
template <class T>
void gather_rows(Cuda, const GatherExtents&, const T* table, const std::int64_t* index, T* y);
/// dtable (overwritten): every row's gradients added in an order that the extents fix. `order` is workspace for rows + 1 + count numbers.
template <class T>
void gather_rows_gradient(Cpu, const GatherExtents&, const T* dy, const std::int64_t* index, std::int64_t* order, T* dtable);
template <class T>
void gather_rows_gradient(Cuda, const GatherExtents&, const T* dy, const std::int64_t* index, std::int64_t* order, T* dtable);

/// y = x / (1 - probability) where the stream's number at the element's index is at least `probability`, else 0. x: consecutive tokens of a
/// box; number k of token (sample, row, column) of the box has the index origin + (sample * sample_step + row * row_step + column) * width
/// + k.
struct DropoutPlaces {
  std::int64_t tokens, width;  // of x
  std::int64_t rows, columns;  // of the box
  std::int64_t first;          // token of the box, row-major, with which x begins
  std::int64_t origin, sample_step, row_step;
};
template <class T>
void dropout(Cpu, const DropoutPlaces&, double probability, const StreamKey& key, const T* x, T* y);
template <class T>
void dropout(Cuda, const DropoutPlaces&, double probability, const StreamKey& key, const T* x, T* y);

}  // namespace trident
