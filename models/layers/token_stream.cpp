#include "models/layers/token_stream.h"

#include "parallel/collectives.h"
#include "runtime/ops/shape.h"

namespace trident {
namespace {

Tensor as_rows(const Tensor& tokens) { return reshape(tokens, {tokens.size(0) * tokens.size(1) * tokens.size(2), tokens.size(3)}); }

}  // namespace

TokenStream::TokenStream(const Mesh& mesh, TokensBetween between, const Shape& tokens) : mesh_(mesh), shape_(tokens) {
  if (between == TokensBetween::alike || mesh.size(Axis::tensor) == 1) return;
  const std::int64_t per_sample = tokens[1] * tokens[2], count = tokens[0] * per_sample;
  counts_ = part_sizes(count, mesh.size(Axis::tensor));
  part_ = SampleRows{tokens[0], per_sample, part_of(count, mesh.size(Axis::tensor), mesh.coordinate(Axis::tensor)).first};
}

Tensor TokenStream::kept(const Tensor& whole) const {
  if (!part_) return whole;
  return slice(as_rows(whole), 0, part_->first, part_->first + counts_[static_cast<std::size_t>(mesh_.coordinate(Axis::tensor))]);
}

CarriedSum TokenStream::kept(const CarriedSum& whole) const {
  return {kept(whole.value), whole.rest.defined() ? kept(whole.rest) : Tensor{}};
}

Tensor TokenStream::whole(const Tensor& kept) const {
  return part_ ? reshape(all_gather(mesh_, Axis::tensor, kept, counts_), shape_) : kept;
}

Tensor TokenStream::sum(const Tensor& addend) const {
  return part_ ? reduce_scatter(mesh_, Axis::tensor, as_rows(addend), counts_) : all_reduce_sum(mesh_, Axis::tensor, addend);
}

}  // namespace trident
