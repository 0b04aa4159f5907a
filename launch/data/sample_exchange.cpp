#include "launch/data/sample_exchange.h"

#include <numeric>

#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"

namespace trident {
namespace {

constexpr AxisSet kDomain = Axis::domain_y | Axis::domain_x;

std::int64_t sum_of(const std::vector<std::int64_t>& counts) { return std::accumulate(counts.begin(), counts.end(), std::int64_t{0}); }

}  // namespace

SampleExchange::SampleExchange(const Mesh& mesh, const Rectangle& own, int axes)
    : mesh_(mesh), axes_(axes), rank_(mesh.comm(kDomain).rank()) {
  const auto ranks = static_cast<std::size_t>(mesh.size(kDomain));
  const Tensor all = empty({4 * static_cast<std::int64_t>(ranks)}, DType::i64);
  mesh_.stream().synchronize();
  mesh_.comm(kDomain).all_gather(
      from_values<std::int64_t>({4}, std::vector{own.rows.first, own.rows.last, own.columns.first, own.columns.last}), all,
      std::vector<std::int64_t>(ranks, 4));
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    const std::int64_t* const n = all.data<std::int64_t>() + 4 * rank;
    rectangles_.push_back({.rows = {n[0], n[1]}, .columns = {n[2], n[3]}});
  }
}

void SampleExchange::complete(Fields& fields, std::int64_t samples) const {
  fields.input = rectangles_of_all(fields.input, samples);
  fields.label = rectangles_of_all(fields.label, samples);
  Tensor& mask = fields.pixel_mask;
  if (mask.defined()) mask = mask.rank() > 2 ? rectangles_of_all(mask, samples) : rows_of_all(mask, samples);
}

Tensor SampleExchange::rectangles_of_all(const Tensor& whole, std::int64_t samples) const {
  const int columns = whole.rank() - 1, rows = columns - 1;
  const auto extents_on = [&](const Rectangle& part) {
    Shape shape = whole.shape();
    shape[columns] = part.columns.size();
    if (axes_ > 1) shape[rows] = part.rows.size();
    return shape;
  };
  std::vector<std::int64_t> sends, receives;
  for (std::size_t rank = 0; rank < rectangles_.size(); ++rank) {
    sends.push_back(numel(extents_on(rectangles_[rank])));
    Shape theirs = extents_on(rectangles_[static_cast<std::size_t>(rank_)]);
    theirs[0] = part_of(samples, static_cast<std::int64_t>(rectangles_.size()), static_cast<std::int64_t>(rank)).size();
    receives.push_back(numel(theirs));
  }
  const Tensor source = empty({sum_of(sends)}, whole.dtype());
  std::int64_t begin = 0;
  for (std::size_t rank = 0; rank < rectangles_.size(); begin += sends[rank++]) {
    Tensor part = view::slice(whole, columns, rectangles_[rank].columns.first, rectangles_[rank].columns.last);
    if (axes_ > 1) part = view::slice(part, rows, rectangles_[rank].rows.first, rectangles_[rank].rows.last);
    copy_into(view::reshape(view::slice(source, 0, begin, begin + sends[rank]), part.shape()), part);
  }
  Shape shape = extents_on(rectangles_[static_cast<std::size_t>(rank_)]);
  shape[0] = samples;  // the ranks' shares follow each other
  const Tensor result = empty(shape, whole.dtype());
  mesh_.stream().synchronize();
  mesh_.comm(kDomain).all_to_all(source, sends, view::reshape(result, {result.numel()}), receives);
  return result;
}

Tensor SampleExchange::rows_of_all(const Tensor& rows, std::int64_t samples) const {
  const Tensor all = empty({samples, rows.size(1)}, rows.dtype());
  std::vector<std::int64_t> counts = part_sizes(samples, static_cast<std::int64_t>(rectangles_.size()));
  for (std::int64_t& count : counts) count *= rows.size(1);
  mesh_.stream().synchronize();
  mesh_.comm(kDomain).all_gather(packed(rows), all, counts);
  return all;
}

}  // namespace trident
