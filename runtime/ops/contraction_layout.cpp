#include "runtime/ops/contraction_layout.h"

#include <algorithm>

#include "runtime/error.h"

namespace trident {

bool has_label(const std::string& labels, char label) { return labels.find(label) != std::string::npos; }

std::int64_t extent_of(const Operand& x, char label) { return x.tensor.size(static_cast<int>(x.labels.find(label))); }

std::int64_t extent_of(const Operand& x, const std::string& labels) {
  std::int64_t extent = 1;
  for (const char label : labels) extent *= extent_of(x, label);
  return extent;
}

Tensor ordered(const Operand& x, const std::string& labels) {
  Shape shape, strides;
  for (const char label : labels) {
    const auto dim = x.labels.find(label);
    shape.push_back(dim == std::string::npos ? 1 : x.tensor.size(static_cast<int>(dim)));
    strides.push_back(dim == std::string::npos ? 0 : x.tensor.strides()[static_cast<int>(dim)]);
  }
  return Tensor(x.tensor.storage(), x.tensor.offset(), shape, strides, x.tensor.dtype());
}

std::int64_t stride_of(const Operand& x, char label) {
  const auto dim = x.labels.find(label);
  return dim == std::string::npos ? 0 : x.tensor.strides()[static_cast<int>(dim)];
}

Roles roles_of(const Operand& a, const Operand& b, const std::string& result) {
  const auto describe = [&] {
    return concat("contract: ", a.labels, to_string(a.tensor.shape()), ", ", b.labels, to_string(b.tensor.shape()), " -> ", result);
  };
  for (const Operand* x : {&a, &b}) {
    if (static_cast<int>(x->labels.size()) != x->tensor.rank() || !is_complex(x->tensor.dtype()) || x->tensor.dtype() != a.tensor.dtype()) {
      throw ShapeError(concat(describe(), ": a letter for each dimension of complex tensors of one type is needed"));
    }
  }
  Roles roles;
  for (const char label : result) {
    const bool in_a = has_label(a.labels, label), in_b = has_label(b.labels, label);
    if (!in_a && !in_b) throw ShapeError(concat(describe(), ": '", label, "' is in neither tensor"));
    (in_a && in_b ? roles.batch : in_a ? roles.rows : roles.columns) += label;
  }
  for (const char label : a.labels) {
    if (!has_label(b.labels, label)) {
      if (!has_label(result, label)) throw ShapeError(concat(describe(), ": '", label, "' is summed but not in both"));
      continue;
    }
    if (extent_of(a, label) != extent_of(b, label)) throw ShapeError(concat(describe(), ": the extents of '", label, "' differ"));
    if (!has_label(result, label)) roles.summed += label;
  }
  for (const char label : b.labels) {
    if (!has_label(a.labels, label) && !has_label(result, label))
      throw ShapeError(concat(describe(), ": '", label, "' is summed but not in both"));
  }
  return roles;
}

namespace {

constexpr std::size_t kVectorBytes = 64;
constexpr double kPacking = 10.0;  // products that take as long as copying a number

/// The dimensions `labels`, as few chunks as there can be, in the order of memory of `lead`; those of extent 1 lie outside.
std::vector<Chunk> chunks_of(std::string labels, const Operand& a, const Operand& b, const Operand& lead) {
  std::erase_if(labels, [&](char label) { return extent_of(lead, label) == 1; });
  std::ranges::stable_sort(labels, [&](char first, char second) { return stride_of(lead, first) > stride_of(lead, second); });
  std::vector<Chunk> chunks;
  for (const char label : labels) {
    const std::int64_t extent = extent_of(lead, label), step_a = stride_of(a, label), step_b = stride_of(b, label);
    Chunk* before = chunks.empty() ? nullptr : &chunks.back();
    if (before == nullptr || before->a != extent * step_a || before->b != extent * step_b) {
      chunks.push_back({std::string(1, label), extent, step_a, step_b});
    } else {
      *before = {before->labels + label, before->extent * extent, step_a, step_b};
    }
  }
  return chunks;
}

/// The chunk at `place`, taken out; one of extent 1 if there is none.
Chunk taken(std::vector<Chunk>& chunks, std::ptrdiff_t place) {
  if (chunks.empty()) return {};
  const Chunk chunk = chunks[static_cast<std::size_t>(place)];
  chunks.erase(chunks.begin() + place);
  return chunk;
}

/// What vectors run along: a chunk of b's own dimensions.
struct Columns {
  std::ptrdiff_t chunk = 0;
  double worth = 0.0;  // estimated share of the arithmetic's speed
};

/// The best of b's `chunks` where each number of b is used `uses` times.
Columns best_columns(const std::vector<Chunk>& chunks, const Operand& b, double uses) {
  const auto step = static_cast<std::int64_t>(kVectorBytes / size_of(b.tensor.dtype()));
  Columns best;
  for (std::size_t i = 0; i < chunks.size(); ++i) {
    const std::int64_t extent = chunks[i].extent, vectors = (extent + step - 1) / step;
    double worth = static_cast<double>(extent) / static_cast<double>(vectors * step);
    if (vectors == 1) worth *= 0.6;                           // too few sums at once
    if (chunks[i].b != 1) worth *= uses / (uses + kPacking);  // columns that lie apart are copied first
    if (worth > best.worth) best = {static_cast<std::ptrdiff_t>(i), worth};
  }
  return best;
}

}  // namespace

ProductLayout::ProductLayout(const Operand& a, const Operand& b, const Roles& roles)
    : batch(chunks_of(roles.batch, a, b, a)),
      rows(chunks_of(roles.rows, a, b, a)),
      columns(chunks_of(roles.columns, a, b, b)),
      summed(chunks_of(roles.summed, a, b, b)) {
  const auto largest = [](const std::vector<Chunk>& chunks) {
    return std::ranges::max_element(chunks, {}, &Chunk::extent) - chunks.begin();
  };
  const Columns best = best_columns(columns, b, static_cast<double>(extent_of(a, roles.rows)));
  worth = best.worth;
  m = taken(rows, largest(rows));
  n = taken(columns, best.chunk);
  const auto beside = std::ranges::find_if(summed, [](const Chunk& chunk) { return chunk.b == 1; });
  k = taken(summed, beside == summed.end() ? largest(summed) : beside - summed.begin());
}

}  // namespace trident
