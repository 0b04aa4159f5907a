#include "runtime/ops/contraction.h"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <optional>

#include "runtime/autograd/tape.h"
#include "runtime/kernels/mode_product.h"
#include "runtime/ops/complex.h"
#include "runtime/ops/elementwise.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"

namespace trident {
namespace {

bool contains(const std::string& labels, char label) { return labels.find(label) != std::string::npos; }

template <class Keep>
std::string labels_where(const std::string& labels, Keep&& keep) {
  std::string kept;
  std::copy_if(labels.begin(), labels.end(), std::back_inserter(kept), keep);
  return kept;
}

std::int64_t extent_of(const Operand& x, char label) { return x.tensor.size(static_cast<int>(x.labels.find(label))); }

std::int64_t extent_of(const Operand& x, const std::string& labels) {
  std::int64_t extent = 1;
  for (const char label : labels) extent *= extent_of(x, label);
  return extent;
}

/// The dimensions in the order of `labels`, which are those of x and perhaps more: of extent 1.
Tensor ordered(const Operand& x, const std::string& labels) {
  Shape shape, strides;
  for (const char label : labels) {
    const auto dim = x.labels.find(label);
    shape.push_back(dim == std::string::npos ? 1 : x.tensor.size(static_cast<int>(dim)));
    strides.push_back(dim == std::string::npos ? 0 : x.tensor.strides()[static_cast<int>(dim)]);
  }
  return Tensor(x.tensor.storage(), x.tensor.offset(), shape, strides, x.tensor.dtype());
}

/// Dimensions of three groups as three steps through memory.
struct Grouped {
  Tensor tensor;                          // rank 3
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

/// What the letters of a product of two mean.
struct Roles {
  std::string batch;     // in both and in the result
  std::string summed;    // in both alone
  std::string rows;      // in a and the result
  std::string columns;   // in b and the result
};

Roles roles_of(const Operand& a, const Operand& b, const std::string& result) {
  const auto describe = [&] { return concat("contract: ", a.labels, to_string(a.tensor.shape()), ", ", b.labels, to_string(b.tensor.shape()), " -> ", result); };
  for (const Operand* x : {&a, &b}) {
    if (static_cast<int>(x->labels.size()) != x->tensor.rank() || !is_complex(x->tensor.dtype()) || x->tensor.dtype() != a.tensor.dtype()) {
      throw ShapeError(concat(describe(), ": a letter for each dimension of complex tensors of one type is needed"));
    }
  }
  Roles roles;
  for (const char label : result) {
    const bool in_a = contains(a.labels, label), in_b = contains(b.labels, label);
    if (!in_a && !in_b) throw ShapeError(concat(describe(), ": '", label, "' is in neither tensor"));
    (in_a && in_b ? roles.batch : in_a ? roles.rows : roles.columns) += label;
  }
  for (const char label : a.labels) {
    if (!contains(b.labels, label)) {
      if (!contains(result, label)) throw ShapeError(concat(describe(), ": '", label, "' is summed but not in both"));
      continue;
    }
    if (extent_of(a, label) != extent_of(b, label)) throw ShapeError(concat(describe(), ": the extents of '", label, "' differ"));
    if (!contains(result, label)) roles.summed += label;
  }
  for (const char label : b.labels) {
    if (!contains(a.labels, label) && !contains(result, label)) throw ShapeError(concat(describe(), ": '", label, "' is summed but not in both"));
  }
  return roles;
}

enum class Conjugate { no, yes };

/// The result's shape in the order of `labels`.
Shape shape_of(const Operand& a, const Operand& b, const std::string& labels) {
  Shape shape;
  for (const char label : labels) shape.push_back(contains(a.labels, label) ? extent_of(a, label) : extent_of(b, label));
  return shape;
}

/// Modes are the letters of both that the result keeps: a small product at each.
Tensor batched(const Operand& a, const Operand& b, const Roles& roles, Conjugate conjugate_b) {
  const Grouped left = grouped(a, {roles.rows, roles.summed, roles.batch}, true), right = grouped(b, {roles.summed, roles.columns, roles.batch}, true);
  const Tensor c = empty(shape_of(a, b, roles.rows + roles.columns + roles.batch), a.tensor.dtype(), a.tensor.device());
  const std::int64_t modes = left.tensor.size(2), n = right.tensor.size(1);
  const ModeProduct size{.modes = modes, .m = left.tensor.size(0), .n = n, .k = left.tensor.size(1), .a_m = left.stride(0), .a_k = left.stride(1),
                         .b_k = right.stride(0), .b_n = right.stride(1), .c_m = n * modes, .c_n = modes,
                         .conjugate_a = false, .conjugate_b = conjugate_b == Conjugate::yes};
  launch_numbers("contract", c, [&](auto device, auto type) {
    using Z = decltype(type);
    if constexpr (!std::is_floating_point_v<Z>) {
      mode_product(device, size, left.tensor.data<Z>(), right.tensor.data<Z>(), c.data<Z>());
    }
  });
  return c;
}

/// The dimensions in the order in which they lie in memory.
Operand in_memory_order(const Operand& x) {
  std::string labels = x.labels;
  const auto stride = [&](char label) { return extent_of(x, label) == 1 ? 0 : x.tensor.strides()[static_cast<int>(x.labels.find(label))]; };
  std::ranges::stable_sort(labels, [&](char a, char b) { return stride(a) > stride(b); });
  return {ordered(x, labels), labels};
}

/// One large product: the smaller tensor b as a matrix applied to the summed dimensions of a where they lie, if they lie together.
Operand product(const Operand& a, const Operand& b, const Roles& roles, Conjugate conjugate_b) {
  Operand left = in_memory_order(a);
  const auto first = std::ranges::find_if(left.labels, [&](char label) { return contains(roles.summed, label); }) - left.labels.begin();
  std::string summed = left.labels.substr(static_cast<std::size_t>(first), roles.summed.size());
  const bool together = std::ranges::all_of(summed, [&](char label) { return contains(roles.summed, label); });
  std::string before = left.labels.substr(0, static_cast<std::size_t>(first)), after = left.labels.substr(before.size() + summed.size());
  if (!together) before = roles.rows, summed = roles.summed, after = "";
  const Tensor x = packed(ordered(left, before + summed + after));
  const Grouped matrix = grouped(b, {summed, roles.columns, ""}, false);
  const std::string labels = before + roles.columns + after;
  const Tensor c = empty(shape_of(a, b, labels), a.tensor.dtype(), a.tensor.device());
  const std::int64_t rows = extent_of(a, before), in = matrix.tensor.size(0), out = matrix.tensor.size(1), inner = extent_of(a, after);
  const bool conjugates = conjugate_b == Conjugate::yes;
  launch_numbers("contract", c, [&](auto device, auto type) {
    using Z = decltype(type);
    if constexpr (!std::is_floating_point_v<Z>) {
      if (inner == 1) {
        complex_product(device, {.m = rows, .n = out, .k = in, .b_k = matrix.stride(0), .b_n = matrix.stride(1), .conjugate_b = conjugates},
                        x.data<Z>(), matrix.tensor.data<Z>(), c.data<Z>());
      } else {
        middle_product(device, {.before = rows, .in = in, .out = out, .after = inner, .matrix_out = matrix.stride(1), .matrix_in = matrix.stride(0),
                                .conjugate_matrix = conjugates},
                       x.data<Z>(), matrix.tensor.data<Z>(), c.data<Z>());
      }
    }
  });
  return {c, labels};
}

/// Unrecorded: a times b, or its conjugate.
Tensor contracted(const Operand& a, const Operand& b, const std::string& result, Conjugate conjugate_b) {
  const Roles roles = roles_of(a, b, result);
  if (roles.summed.empty()) {
    const Tensor right = conjugate_b == Conjugate::yes ? conjugate(b.tensor) : b.tensor;
    return ordered(a, result) * ordered({right, b.labels}, result);
  }
  if (!roles.batch.empty()) {
    return ordered({batched(a, b, roles, conjugate_b), roles.rows + roles.columns + roles.batch}, result);
  }
  if (a.tensor.numel() >= b.tensor.numel()) return ordered(product(a, b, roles, conjugate_b), result);
  const Tensor other = conjugate_b == Conjugate::yes ? conjugate(b.tensor) : b.tensor;
  const Roles turned{.batch = "", .summed = roles.summed, .rows = roles.columns, .columns = roles.rows};
  return ordered(product({other, b.labels}, a, turned, Conjugate::no), result);
}

/// The cheapest way to multiply the tensors of a set together.
struct Plan {
  double cost = std::numeric_limits<double>::infinity();
  unsigned first = 0;  // one half of the last product; 0: a single tensor
  std::string labels;
};

/// By the numbers of multiplications, over all ways; as opt_einsum's "optimal".
std::vector<Plan> plans_of(const std::vector<Operand>& operands, const std::string& result) {
  const unsigned all = (1U << operands.size()) - 1;
  const auto extent = [&](char label) {
    const auto found = std::ranges::find_if(operands, [&](const Operand& x) { return contains(x.labels, label); });
    return static_cast<double>(std::max<std::int64_t>(1, extent_of(*found, label)));  // without modes any order would look free
  };
  const auto needed = [&](char label, unsigned set) {  // outside of the set
    if (contains(result, label)) return true;
    for (std::size_t i = 0; i < operands.size(); ++i) {
      if ((set >> i & 1U) == 0 && contains(operands[i].labels, label)) return true;
    }
    return false;
  };
  std::vector<Plan> plans(all + 1);
  for (unsigned set = 1; set <= all; ++set) {
    Plan& plan = plans[set];
    if (std::has_single_bit(set)) {
      plan = {0.0, 0, operands[static_cast<std::size_t>(std::countr_zero(set))].labels};
      continue;
    }
    for (unsigned first = (set - 1) & set; first > (set & ~first); first = (first - 1) & set) {
      const Plan &a = plans[first], &b = plans[set & ~first];
      const std::string together = a.labels + labels_where(b.labels, [&](char label) { return !contains(a.labels, label); });
      double cost = a.cost + b.cost, product = 1.0;
      for (const char label : together) product *= extent(label);
      cost += product;
      if (!(cost < plan.cost)) continue;
      const std::string labels = labels_where(together, [&](char label) { return needed(label, set); });
      if (labels.size() <= Shape::kMaxRank) plan = {cost, first, labels};
    }
  }
  return plans;
}

Operand follow(const std::vector<Operand>& operands, const std::vector<Plan>& plans, unsigned set) {
  const Plan& plan = plans[set];
  if (plan.first == 0) return operands[static_cast<std::size_t>(std::countr_zero(set))];
  return {contract(follow(operands, plans, plan.first), follow(operands, plans, set & ~plan.first), plan.labels), plan.labels};
}

}  // namespace

Tensor contract(const Operand& a, const Operand& b, const std::string& result) {
  const Operand left{a.tensor.detached(), a.labels}, right{b.tensor.detached(), b.labels};
  const Tensor c = contracted(left, right, result, Conjugate::no);
  return record("contract", c, {a.tensor, b.tensor}, [left, right, result](const Tensor& dc, Wanted wanted) {
    const Operand gradient{dc, result};
    std::vector<Tensor> gradients(2);
    if (wanted[0]) gradients[0] = contracted(gradient, right, left.labels, Conjugate::yes);
    if (wanted[1]) gradients[1] = contracted(gradient, left, right.labels, Conjugate::yes);
    return gradients;
  });
}

Tensor contract(const std::vector<Operand>& operands, const std::string& result) {
  constexpr std::size_t kMost = 12;  // 3^n ways are looked through
  if (operands.size() < 2 || operands.size() > kMost) throw ShapeError(concat("contract: got ", operands.size(), " tensors; it takes 2 to ", kMost));
  const unsigned all = (1U << operands.size()) - 1;
  std::vector<Plan> plans = plans_of(operands, result);
  plans[all].labels = result;
  return follow(operands, plans, all).tensor;
}

}  // namespace trident
