#include "runtime/ops/matmul.h"

#include <algorithm>

#include "runtime/autograd/tape.h"
#include "runtime/kernels/matmul.h"
#include "runtime/kernels/mlp.h"
#include "runtime/ops/into.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

[[noreturn]] void refuse(const char* op, const Tensor& a, const Tensor& b, const char* why) {
  throw ShapeError(
      concat(op, ": ", to_string(a.shape()), " ", name_of(a.dtype()), " and ", to_string(b.shape()), " ", name_of(b.dtype()), ": ", why));
}

std::int64_t leading(const Tensor& x) { return x.rank() == 2 ? 1 : numel(Shape(std::span(x.shape().begin(), x.shape().end() - 2))); }

void check_product(const Tensor& a, const Tensor& b, Transpose transpose_a, Transpose transpose_b) {
  if (a.rank() < 2 || b.rank() < 2) refuse("matmul", a, b, "both need at least 2 dimensions");
  if (a.dtype() != b.dtype() || a.device() != b.device()) refuse("matmul", a, b, "number types and devices must be equal");
  if (a.size(transpose_a == Transpose::yes ? -2 : -1) != b.size(transpose_b == Transpose::yes ? -1 : -2)) {
    refuse("matmul", a, b,
           transpose_a == Transpose::yes || transpose_b == Transpose::yes
               ? "the inner extents differ (after transposing); check which operand is transposed"
               : "the inner extents differ; transpose an operand?");
  }
  if (a.rank() == 2 || b.rank() == 2) return;
  if (!std::equal(a.shape().begin(), a.shape().end() - 2, b.shape().begin(), b.shape().end() - 2)) {
    refuse("matmul", a, b, "leading dimensions must be equal, or absent in one of them");
  }
}

/// The sizes of op(a) op(b). `sum` adds the products of the batch into one matrix.
Products products_of(const Tensor& a, const Tensor& b, Transpose transpose_a, Transpose transpose_b, bool sum) {
  const bool ta = transpose_a == Transpose::yes, tb = transpose_b == Transpose::yes;
  Products size{.count = std::max(leading(a), leading(b)),
                .m = a.size(ta ? -1 : -2),
                .n = b.size(tb ? -2 : -1),
                .k = a.size(ta ? -2 : -1),
                .transpose_a = ta,
                .transpose_b = tb,
                .stride_a = a.rank() == 2 ? 0 : a.size(-1) * a.size(-2),
                .stride_b = b.rank() == 2 ? 0 : b.size(-1) * b.size(-2)};
  if (a.rank() > 2 && leading(a) == 0) size.count = 0;
  if (b.rank() > 2 && leading(b) == 0) size.count = 0;
  size.stride_c = sum ? 0 : size.m * size.n;
  // Batches of rows against one matrix are one long matrix, and so are sums over batches of columns.
  if (size.stride_b == 0 && !ta && !sum) {
    size.m *= size.count;
    size.count = 1;
  } else if (sum && ta && !tb && a.rank() > 2 && b.rank() > 2) {
    size.k *= size.count;
    size.count = 1;
  }
  return size;
}

/// Unrecorded: `place` gets op(a) op(b); `sum` as above.
void put_product(const Tensor& a, const Tensor& b, Transpose transpose_a, Transpose transpose_b, const GradientPlace& place,
                 bool sum = false) {
  launch_activations("matmul", a, [&](auto device, auto number) {
    using T = decltype(number);
    multiply(device, products_of(a, b, transpose_a, transpose_b, sum), a.data<T>(), b.data<T>(), into<T>(place));
  });
}

/// op(a) op(b) unrecorded, with the leading dimensions of whichever has them.
Tensor product(const Tensor& a, const Tensor& b, Transpose transpose_a, Transpose transpose_b) {
  Shape shape = (a.rank() > 2 ? a : b).shape();
  shape[shape.rank() - 2] = a.size(transpose_a == Transpose::yes ? -1 : -2);
  shape[shape.rank() - 1] = b.size(transpose_b == Transpose::yes ? -2 : -1);
  Tensor c = empty(shape, a.dtype(), a.device());
  put_product(a, b, transpose_a, transpose_b, {.to = c});
  return c;
}

}  // namespace

void check_linear(const char* op, const Tensor& x, const Tensor& weight, const Tensor& bias) {
  if (weight.rank() != 2) refuse(op, x, weight, "the weight needs 2 dimensions (out, in)");
  if (x.rank() < 1 || x.size(-1) != weight.size(1)) refuse(op, x, weight, "the input's last extent is not the weight's second");
  if (x.dtype() != weight.dtype() || x.device() != weight.device()) refuse(op, x, weight, "number types and devices must be equal");
  if (!bias.defined()) return;
  if (bias.shape() != Shape{weight.size(0)} || bias.dtype() != weight.dtype()) {
    throw ShapeError(concat(op, ": weight ", to_string(weight.shape()), " needs a bias (", weight.size(0), ",) of the same type, got ",
                            to_string(bias.shape()), " ", name_of(bias.dtype())));
  }
}

namespace {

Shape with_last(const Shape& shape, std::int64_t last) {
  Shape result = shape;
  result[shape.rank() - 1] = last;
  return result;
}

std::int64_t rows_of(const Tensor& x) { return numel(with_last(x.shape(), 1)); }

template <class T>
T* data_or_null(const Tensor& x) {
  return x.defined() ? x.data<T>() : nullptr;
}

/// The weights of an mlp, row-major and off the tape.
struct MlpOperands {
  Tensor up, up_bias, down, down_bias;
};

Tensor packed_or_undefined(const Tensor& x) { return x.defined() ? packed(x).detached() : Tensor{}; }

}  // namespace

Tensor matmul(const Tensor& a, const Tensor& b, Transpose transpose_a, Transpose transpose_b) {
  check_product(a, b, transpose_a, transpose_b);
  const Tensor left = packed(a).detached(), right = packed(b).detached();
  const Tensor c = product(left, right, transpose_a, transpose_b);
  return record("matmul", c, {a, b}, [left, right, transpose_a, transpose_b](const Tensor& gradient, Wanted wanted) {
    constexpr auto no = Transpose::no, yes = Transpose::yes;
    const Tensor dc = packed(gradient);
    const bool sum_left = left.rank() == 2 && dc.rank() > 2, sum_right = right.rank() == 2 && dc.rank() > 2;
    const Transpose not_a = transpose_a == yes ? no : yes, not_b = transpose_b == yes ? no : yes;
    const auto gradient_of = [&](std::size_t input, const Tensor& operand, const Tensor& a, const Tensor& b, Transpose transpose_a,
                                 Transpose transpose_b, bool sum) {
      const GradientPlace place = wanted.place(input, operand.shape(), operand.dtype(), operand.device());
      if (place.to.defined()) put_product(a, b, transpose_a, transpose_b, place, sum);
      return place.result;
    };
    const Tensor da = transpose_a == no ? gradient_of(0, left, dc, right, no, not_b, sum_left)
                                        : gradient_of(0, left, right, dc, transpose_b, yes, sum_left);
    const Tensor db = transpose_b == no ? gradient_of(1, right, left, dc, not_a, no, sum_right)
                                        : gradient_of(1, right, dc, left, yes, transpose_a, sum_right);
    return std::vector{da, db};
  });
}

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  check_linear("linear", x, weight, bias);
  const Tensor input = packed(x).detached(), w = packed(weight).detached(), b = packed_or_undefined(bias);
  const LinearSize size{.rows = rows_of(x), .in = w.size(1), .out = w.size(0)};
  Tensor y = empty(with_last(x.shape(), size.out), x.dtype(), x.device());
  launch_activations("linear", x, [&](auto device, auto number) {
    using T = decltype(number);
    linear_forward(device, size, input.data<T>(), w.data<T>(), data_or_null<T>(b), y.data<T>());
  });
  const auto backward = [input = weight.node() ? input : Tensor{}, shape = x.shape(), w, size](const Tensor& gradient, Wanted wanted) {
    const Tensor dy = packed(gradient);
    const DType wide_type = wide(dy.dtype());
    const GradientPlace dx = wanted.place(0, shape, dy.dtype(), dy.device());
    const GradientPlace dweight = wanted.place(1, w.shape(), wide_type, dy.device());
    const GradientPlace dbias = wanted.place(2, {size.out}, wide_type, dy.device());
    launch_activations("linear", dy, [&](auto device, auto number) {
      using T = decltype(number);
      if (wanted[0]) linear_backward_input(device, size, dy.data<T>(), w.data<T>(), into<T>(dx));
      linear_backward_weight<T>(device, size, data_or_null<T>(input), dy.data<T>(), into<Wide<T>>(dweight), into<Wide<T>>(dbias));
    });
    return std::vector{dx.result, dweight.result, dbias.result};
  };
  return with_bias(record("linear", y, {x, weight, bias}, backward), 2);
}

namespace {

void check_mlp(const Tensor& x, const Tensor& up, const Tensor& up_bias, const Tensor& down, const Tensor& down_bias) {
  check_linear("mlp", x, up, up_bias);
  if (down.rank() != 2 || down.size(1) != up.size(0) || down.dtype() != up.dtype()) {
    refuse("mlp", up, down, "the second weight must be (out, hidden) for a first of (hidden, in), of the same type");
  }
  check_linear("mlp", down, down, down_bias);
}

template <class T>
MlpWeights<T> weights_of(const MlpOperands& w) {
  return {w.up.data<T>(), data_or_null<T>(w.up_bias), w.down.data<T>(), data_or_null<T>(w.down_bias)};
}

}  // namespace

Tensor mlp(const Tensor& x, const Tensor& up, const Tensor& up_bias, const Tensor& down, const Tensor& down_bias, Activation activation) {
  check_mlp(x, up, up_bias, down, down_bias);
  const MlpOperands w{packed(up).detached(), packed_or_undefined(up_bias), packed(down).detached(), packed_or_undefined(down_bias)};
  const Tensor input = packed(x).detached();
  const MlpSize size{.rows = rows_of(x), .in = up.size(1), .hidden = up.size(0), .out = down.size(0), .activation = activation};
  const bool keep = Recording::is_on() && (x.node() || up.node() || up_bias.node() || down.node() || down_bias.node());
  const auto kept = [&](bool wanted) { return wanted ? empty(with_last(x.shape(), size.hidden), x.dtype(), x.device()) : Tensor{}; };
  const Tensor before = kept(keep), after = kept(keep && keeps_after(x.dtype(), activation));
  Tensor y = empty(with_last(x.shape(), size.out), x.dtype(), x.device());
  launch_activations("mlp", x, [&](auto device, auto number) {
    using T = decltype(number);
    mlp_forward<T>(device, size, input.data<T>(), weights_of<T>(w), {data_or_null<T>(before), data_or_null<T>(after)}, y.data<T>());
  });
  const auto backward = [input, w, before, after, size](const Tensor& gradient, Wanted wanted) {
    const Tensor dy = packed(gradient);
    const auto place_of = [&](std::size_t input, const Shape& shape) {
      return wanted.place(input, shape, input == 0 ? dy.dtype() : wide(dy.dtype()), dy.device());
    };
    const GradientPlace dx = place_of(0, input.shape()), up = place_of(1, w.up.shape()), up_bias = place_of(2, {size.hidden}),
                        down = place_of(3, w.down.shape()), down_bias = place_of(4, {size.out});
    launch_activations("mlp", dy, [&](auto device, auto number) {
      using T = decltype(number);
      using W = Wide<T>;
      mlp_backward<T>(device, size, input.data<T>(), {before.data<T>(), data_or_null<T>(after)}, dy.data<T>(), weights_of<T>(w),
                      {into<T>(dx), into<W>(up), into<W>(up_bias), into<W>(down), into<W>(down_bias)});
    });
    return std::vector{dx.result, up.result, up_bias.result, down.result, down_bias.result};
  };
  return with_bias(record("mlp", y, {x, up, up_bias, down, down_bias}, backward), 4);
}

}  // namespace trident
