#include "runtime/ops/contraction.h"

#include <algorithm>
#include <array>
#include <bit>
#include <optional>

#include "runtime/autograd/tape.h"
#include "runtime/kernels/mode_product.h"
#include "runtime/kernels/strided_product.h"
#include "runtime/ops/complex.h"
#include "runtime/ops/contraction_layout.h"
#include "runtime/ops/contraction_order.h"
#include "runtime/ops/elementwise.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"

namespace trident {
namespace {

template <class Keep>
std::string labels_where(const std::string& labels, Keep&& keep) {
  std::string kept;
  std::copy_if(labels.begin(), labels.end(), std::back_inserter(kept), keep);
  return kept;
}

/// Dimensions of three groups as three steps through memory.
struct Grouped {
  Tensor tensor;  // rank 3
  std::int64_t stride(int group) const { return tensor.strides()[group]; }
};

/// The step through consecutive dimensions [first, last) as one, if there is one.
std::optional<std::int64_t> joint_stride(const Tensor& x, int first, int last) {
  std::int64_t stride = 0, expected = 0;
  bool any = false;
  for (int dim = last - 1; dim >= first; --dim) {
    if (x.size(dim) == 1) continue;
    if (!any) stride = x.strides()[dim];
    if (any && x.strides()[dim] != expected) return std::nullopt;
    expected = x.strides()[dim] * x.size(dim);
    any = true;
  }
  return stride;
}

/// x with its dimensions in three groups, each one dimension; copied if a group has no single step, or the last, where `dense_last`, a step
/// other than 1.
Grouped grouped(const Operand& x, const std::array<std::string, 3>& groups, bool dense_last) {
  Tensor all = ordered(x, groups[0] + groups[1] + groups[2]);
  std::array<std::int64_t, 3> strides{};
  Shape shape;
  const auto fits = [&] {
    int first = 0;
    for (std::size_t i = 0; i < 3; ++i) {
      const int last = first + static_cast<int>(groups[i].size());
      const auto stride = joint_stride(all, first, last);
      if (!stride) return false;
      strides[i] = *stride;
      first = last;
    }
    return !dense_last || extent_of(x, groups[2]) <= 1 || strides[2] == 1;
  };
  if (!fits()) {
    all = packed(all);
    fits();
  }
  for (const std::string& group : groups) shape.push_back(extent_of(x, group));
  return {Tensor(all.storage(), all.offset(), shape, {strides[0], strides[1], strides[2]}, all.dtype())};
}

enum class Conjugate { no, yes };

/// The result's shape in the order of `labels`.
Shape shape_of(const Operand& a, const Operand& b, const std::string& labels) {
  Shape shape;
  for (const char label : labels) shape.push_back(has_label(a.labels, label) ? extent_of(a, label) : extent_of(b, label));
  return shape;
}

/// Where a product of every mode goes: `tensor` with the dimensions rows, columns, modes, and the steps through it.
struct Target {
  Tensor tensor;
  std::int64_t row_step, column_step;
  bool adds;  // to what lies there
};

/// `to` (result) as it lies, if its rows, its columns and its modes each have one step.
std::optional<Target> target_in(const Tensor& to, const std::string& result, const Roles& roles) {
  const Tensor all = ordered({to, result}, roles.rows + roles.columns + roles.batch);
  const int columns = static_cast<int>(roles.rows.size()), modes = columns + static_cast<int>(roles.columns.size());
  const auto row_step = joint_stride(all, 0, columns), column_step = joint_stride(all, columns, modes),
             step = joint_stride(all, modes, all.rank());
  if (!row_step || !column_step || step != 1) return std::nullopt;
  return Target{all, *row_step, *column_step, false};
}

/// Modes are the letters of both that the result keeps: a small product at each. Goes to `to`, if it is given; else it lies as `result`
/// does, or if that has its modes elsewhere has them last.
Tensor batched(const Operand& a, const Operand& b, const std::string& result, const Roles& roles, Conjugate conjugate_b,
               std::optional<Target> to) {
  const Grouped left = grouped(a, {roles.rows, roles.summed, roles.batch}, true),
                right = grouped(b, {roles.summed, roles.columns, roles.batch}, true);
  const std::int64_t modes = left.tensor.size(2), n = right.tensor.size(1);
  const auto empty_of = [&](const std::string& labels) { return empty(shape_of(a, b, labels), a.tensor.dtype(), a.tensor.device()); };
  if (!to) to = target_in(empty_of(result), result, roles);
  if (!to) to = Target{empty_of(roles.rows + roles.columns + roles.batch), n * modes, modes, false};
  const ModeProduct size{.modes = modes,
                         .m = left.tensor.size(0),
                         .n = n,
                         .k = left.tensor.size(1),
                         .a_m = left.stride(0),
                         .a_k = left.stride(1),
                         .b_k = right.stride(0),
                         .b_n = right.stride(1),
                         .c_m = to->row_step,
                         .c_n = to->column_step,
                         .conjugate_a = false,
                         .conjugate_b = conjugate_b == Conjugate::yes,
                         .add = to->adds};
  launch_numbers("contract", to->tensor, [&](auto device, auto type) {
    using Z = decltype(type);
    if constexpr (!std::is_floating_point_v<Z>) {
      mode_product(device, size, left.tensor.data<Z>(), right.tensor.data<Z>(), to->tensor.data<Z>());
    }
  });
  return to->tensor;
}

/// Where a product of any strides goes, if the device and the layout allow it.
struct Destination {
  Operand to;
  bool adds;
};

/// The step through a chunk in memory, if there is one.
std::optional<std::int64_t> step_in(const Operand& x, const Chunk& chunk) {
  const Tensor all = ordered(x, chunk.labels);
  return joint_stride(all, 0, all.rank());
}

/// Whether a GPU's kernel can write the result of `layout` as `to` lies.
bool fits(const Operand& to, const ProductLayout& layout) {
  const auto has_step = [&](const Chunk& chunk) { return step_in(to, chunk).has_value(); };
  return to.tensor.defined() && to.tensor.is_cuda() && has_step(layout.m) && has_step(layout.n) &&
         std::ranges::all_of(layout.batch, has_step) && std::ranges::all_of(layout.rows, has_step) &&
         std::ranges::all_of(layout.columns, has_step);
}

/// Without a tensor where the result was put in `destination`.
Operand strided(const Operand& a, const Operand& b, const Roles& roles, const ProductLayout& layout, Conjugate conjugate_a,
                Conjugate conjugate_b, const Destination& destination) {
  if (layout.loops() > StridedProduct::kMostLoops) {  // copies have none
    const std::string of_a = roles.batch + roles.rows + roles.summed, of_b = roles.batch + roles.summed + roles.columns;
    const Operand left{packed(ordered(a, of_a)), of_a}, right{packed(ordered(b, of_b)), of_b};
    return strided(left, right, roles, ProductLayout(left, right, roles), conjugate_a, conjugate_b, destination);
  }
  std::string labels = labels_where(roles.batch + roles.rows + roles.columns,
                                    [&](char label) { return extent_of(has_label(a.labels, label) ? a : b, label) == 1; });
  for (const auto* chunks : {&layout.batch, &layout.columns, &layout.rows}) {
    for (const Chunk& chunk : *chunks) labels += chunk.labels;
  }
  labels += layout.m.labels + layout.n.labels;
  const bool sums_nothing = extent_of(a, roles.summed) == 0;
  const bool puts = !sums_nothing && fits(destination.to, layout);
  const Operand c =
      puts ? destination.to : Operand{(sums_nothing ? zeros : empty)(shape_of(a, b, labels), a.tensor.dtype(), a.tensor.device()), labels};
  if (sums_nothing || c.tensor.numel() == 0) return c;
  StridedProduct size{.m = layout.m.extent,
                      .n = layout.n.extent,
                      .k = layout.k.extent,
                      .a_m = layout.m.a,
                      .a_k = layout.k.a,
                      .b_k = layout.k.b,
                      .b_n = layout.n.b,
                      .c_m = *step_in(c, layout.m),
                      .c_n = *step_in(c, layout.n),
                      .conjugate_a = conjugate_a == Conjugate::yes,
                      .conjugate_b = conjugate_b == Conjugate::yes,
                      .add = puts && destination.adds};
  std::size_t loop = layout.loops();
  for (const Chunk& chunk : layout.summed) size.loops[--loop] = {chunk.extent, chunk.a, chunk.b, 0};
  for (const auto* chunks : {&layout.rows, &layout.columns, &layout.batch}) {
    for (auto chunk = chunks->rbegin(); chunk != chunks->rend(); ++chunk)
      size.loops[--loop] = {chunk->extent, chunk->a, chunk->b, *step_in(c, *chunk)};
  }
  launch_numbers("contract", c.tensor, [&](auto device, auto type) {
    using Z = decltype(type);
    if constexpr (!std::is_floating_point_v<Z>) strided_product(device, size, a.tensor.data<Z>(), b.tensor.data<Z>(), c.tensor.data<Z>());
  });
  return puts ? Operand{} : c;
}

/// Matrices of any strides; the modes of both, if there are any, are a loop around them. Of two ways that are as good, the one after which
/// `innermost` lies side by side.
Operand product(const Operand& a, const Operand& b, const Roles& roles, Conjugate conjugate_b, char innermost,
                const Destination& destination) {
  const Roles turned{.batch = roles.batch, .summed = roles.summed, .rows = roles.columns, .columns = roles.rows};
  const ProductLayout other(b, a, turned), straight(a, b, roles);
  if (other.worth > straight.worth || (other.worth == straight.worth && has_label(other.n.labels, innermost)))
    return strided(b, a, turned, other, conjugate_b, Conjugate::no, destination);
  return strided(a, b, roles, straight, Conjugate::no, conjugate_b, destination);
}

/// Whether x's modes lie side by side in memory.
bool modes_lie_last(const Operand& x, const std::string& modes) {
  const Tensor last = ordered(x, modes);
  return joint_stride(last, 0, last.rank()) == 1;
}

/// The letter of the dimension of x that lies side by side; 0 if there is none.
char innermost_of(const Operand& x) {
  for (const char label : x.labels) {
    if (stride_of(x, label) == 1 && extent_of(x, label) > 1) return label;
  }
  return 0;
}

/// Unrecorded: a times b, or its conjugate. Undefined where it was put in `place` (result), which may be undefined itself. `innermost`: as
/// in product().
Tensor contracted(const Operand& a, const Operand& b, const std::string& result, Conjugate conjugate_b, char innermost,
                  const GradientPlace& place = {}) {
  const Roles roles = roles_of(a, b, result);
  if (roles.summed.empty()) {
    const Tensor right = conjugate_b == Conjugate::yes ? conjugate(b.tensor) : b.tensor;
    return ordered(a, result) * ordered({right, b.labels}, result);
  }
  if (!roles.batch.empty() && modes_lie_last(a, roles.batch) && modes_lie_last(b, roles.batch)) {
    std::optional<Target> target = place.to.defined() ? target_in(place.to, result, roles) : std::nullopt;
    if (target) target->adds = place.adds;
    const Tensor c = batched(a, b, result, roles, conjugate_b, target);
    return target ? Tensor{} : ordered({c, roles.rows + roles.columns + roles.batch}, result);
  }
  const Operand c = product(a, b, roles, conjugate_b, innermost, {{place.to, result}, place.adds});
  return c.tensor.defined() ? ordered(c, result) : Tensor{};
}

/// The gradient of `x`, whose result with `other` has `gradient`; none where it was put in `place`.
Tensor gradient_of(const Operand& x, const Operand& gradient, const Operand& other, const GradientPlace& place) {
  const Tensor dx = contracted(gradient, other, x.labels, Conjugate::yes, innermost_of(x), place);
  if (!dx.defined() || !place.to.defined()) return dx;
  put(place, dx);
  return {};
}

/// The set's tensors multiplied together; the last product has its letters in the order of `result`.
Operand follow(const std::vector<Operand>& operands, const ContractionOrder& order, unsigned set, const std::string& result) {
  const unsigned first = order.first(set);
  if (first == 0) return operands[static_cast<std::size_t>(std::countr_zero(set))];
  const Operand a = follow(operands, order, first, ""), b = follow(operands, order, set & ~first, "");
  std::string labels = result;
  if (result.empty()) {
    labels = labels_where(a.labels + labels_where(b.labels, [&](char label) { return !has_label(a.labels, label); }),
                          [&](char label) { return order.keeps(set, label); });
  }
  return {contract(a, b, labels), labels};
}

}  // namespace

Tensor contract(const Operand& a, const Operand& b, const std::string& result) {
  const Operand left{a.tensor.detached(), a.labels}, right{b.tensor.detached(), b.labels};
  const Tensor c = contracted(left, right, result, Conjugate::no, result.empty() ? 0 : result.back());
  return record("contract", c, {a.tensor, b.tensor}, [left, right, result](const Tensor& dc, Wanted wanted) {
    const Operand gradient{dc, result};
    std::vector<Tensor> gradients(2);
    if (wanted[0]) gradients[0] = gradient_of(left, gradient, right, wanted.place_in_leaf(0, left.tensor.shape(), dc.device()));
    if (wanted[1]) gradients[1] = gradient_of(right, gradient, left, wanted.place_in_leaf(1, right.tensor.shape(), dc.device()));
    return gradients;
  });
}

Tensor contract(const std::vector<Operand>& operands, const std::string& result) {
  constexpr std::size_t kMost = 12;  // 3^n ways are looked through
  if (operands.size() < 2 || operands.size() > kMost)
    throw ShapeError(concat("contract: got ", operands.size(), " tensors; it takes 2 to ", kMost));
  return follow(operands, ContractionOrder(operands, result), (1U << operands.size()) - 1, result).tensor;
}

}  // namespace trident
