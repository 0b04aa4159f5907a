#include "runtime/ops/attention.h"

#include <type_traits>

#include "runtime/autograd/tape.h"
#include "runtime/kernels/attention.h"
#include "runtime/kernels/gather.h"
#include "runtime/kernels/relative_bias.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

void check_qkv(const Tensor& qkv, const WindowGrid& grid) {
  if (qkv.rank() != 6 || qkv.size(3) != 3 || qkv.size(5) == 0) {
    throw ShapeError(concat("window_attention: qkv must be (batch, ny, nx, 3, heads, head size), got ", to_string(qkv.shape())));
  }
  if (grid.window < 1 || qkv.size(1) % grid.window != 0 || qkv.size(2) % grid.window != 0) {
    throw ShapeError(concat("window_attention: a grid of ", qkv.size(1), " x ", qkv.size(2), " tokens does not divide into windows of ",
                            grid.window, " x ", grid.window, "; pad it to a multiple"));
  }
  if (grid.roll < 0) throw ShapeError(concat("window_attention: roll ", grid.roll, " is negative"));
}

void check_mask(const Tensor& qkv, const WindowGrid& grid) {
  if (grid.first_row % grid.window != 0 || grid.first_column % grid.window != 0) {
    throw ShapeError(concat("window_attention: the tokens start at (", grid.first_row, ", ", grid.first_column,
                            ") of the global grid, not at a window of ", grid.window));
  }
  if (grid.mask_shift == 0) return;
  if (grid.mask_shift < 0 || grid.mask_shift >= grid.window || grid.first_row + qkv.size(1) > grid.global_rows ||
      grid.first_column + qkv.size(2) > grid.global_columns) {
    throw ShapeError(concat("window_attention: a mask of shift ", grid.mask_shift, " in windows of ", grid.window, " on a global grid of ",
                            grid.global_rows, " x ", grid.global_columns, " does not fit ", to_string(qkv.shape()), " tokens from (",
                            grid.first_row, ", ", grid.first_column, ")"));
  }
}

void check_parameters(const Tensor& qkv, const Tensor& logit_scale, const Tensor& position_bias, const WindowGrid& grid) {
  const std::int64_t heads = qkv.size(4), tokens = grid.window * grid.window;
  if (logit_scale.shape() != Shape{heads}) {
    throw ShapeError(concat("window_attention: ", heads, " heads need as many logit scales, got ", to_string(logit_scale.shape())));
  }
  if (position_bias.shape() != Shape{heads, tokens, tokens}) {
    throw ShapeError(concat("window_attention: position bias must be ", to_string(Shape{heads, tokens, tokens}), ", got ",
                            to_string(position_bias.shape())));
  }
  if (logit_scale.dtype() != wide(qkv.dtype()) || position_bias.dtype() != wide(qkv.dtype())) {
    throw ShapeError(concat("window_attention: qkv is ", name_of(qkv.dtype()), ", logit scale ", name_of(logit_scale.dtype()),
                            ", position bias ", name_of(position_bias.dtype()), "; they must be equal, or f32 beside bf16"));
  }
}

struct Operands {
  Tensor qkv, logit_scale, position_bias;

  template <class T>
  WindowAttentionInputs<T> as() const {
    return {qkv.data<T>(), logit_scale.data<Wide<T>>(), position_bias.data<Wide<T>>()};
  }
};

template <class T>
T* data_or_null(const Tensor& x) {
  return x.defined() ? x.data<T>() : nullptr;
}

/// What the backward gets from the forward; undefined where it gets nothing.
struct Kept {
  Tensor y, log_sums;
};

std::vector<Tensor> backward_of(const WindowAttentionSize& size, const Operands& in, const Kept& kept, const Tensor& dy, Wanted wanted) {
  std::vector<Tensor> result{empty_like(in.qkv), wanted[1] ? empty_like(in.logit_scale) : Tensor{},
                             wanted[2] ? empty_like(in.position_bias) : Tensor{}};
  launch_activations("window_attention", dy, [&](auto device, auto number) {
    using T = decltype(number);
    window_attention_backward<T>(device, size, in.as<T>(), {data_or_null<T>(kept.y), data_or_null<Wide<T>>(kept.log_sums)}, dy.data<T>(),
                                 {result[0].data<T>(), data_or_null<Wide<T>>(result[1]), data_or_null<Wide<T>>(result[2])});
  });
  if (!wanted[0]) result[0] = Tensor{};
  return result;
}

}  // namespace

Tensor window_attention(const Tensor& qkv, const Tensor& logit_scale, const Tensor& position_bias, const WindowGrid& grid,
                        const AttentionDropout& dropout) {
  check_qkv(qkv, grid);
  check_mask(qkv, grid);
  check_parameters(qkv, logit_scale, position_bias, grid);
  const Operands in{packed(qkv).detached(), packed(logit_scale).detached(), packed(position_bias).detached()};
  const WindowAttentionSize size{.batch = qkv.size(0),
                                 .ny = qkv.size(1),
                                 .nx = qkv.size(2),
                                 .heads = qkv.size(4),
                                 .head_size = qkv.size(5),
                                 .grid = grid,
                                 .dropout = dropout};
  const Tensor y = empty({size.batch, size.ny, size.nx, size.heads * size.head_size}, qkv.dtype(), qkv.device());
  Kept kept;
  if (qkv.is_cuda()) kept = {y, empty({size.heads * size.tasks_per_head(), size.tokens()}, in.logit_scale.dtype(), qkv.device())};
  launch_activations("window_attention", qkv, [&](auto device, auto number) {
    using T = decltype(number);
    window_attention_forward<T>(device, size, in.as<T>(), y.data<T>(), data_or_null<Wide<T>>(kept.log_sums));
  });
  return record("window_attention", y, {qkv, logit_scale, position_bias},
                [size, in, kept](const Tensor& dy, Wanted wanted) { return backward_of(size, in, kept, packed(dy), wanted); });
}

Tensor relative_bias(const Tensor& table, const Tensor& index) {
  if (table.rank() != 2) throw ShapeError(concat("relative_bias: the table must be (positions, heads), got ", to_string(table.shape())));
  const Tensor from = packed(table), at = packed(index);
  const RelativeBiasSize size{.positions = from.size(0), .heads = from.size(1), .pairs = at.numel()};
  Shape shape{size.heads};
  for (const std::int64_t extent : at.shape()) shape.push_back(extent);
  const Tensor y = empty(shape, from.dtype(), from.device());
  launch("relative_bias", from, [&](auto device, auto number) {
    using T = decltype(number);
    if constexpr (std::is_same_v<decltype(device), Cpu>) {  // indices on a GPU are not waited for
      const std::int64_t outside = first_outside(device, {size.positions, size.heads, size.pairs}, at.data<std::int64_t>());
      if (outside >= 0) {
        throw ShapeError(concat("relative_bias: index ", at.data<std::int64_t>()[outside], " of pair ", outside, " is outside of the ",
                                size.positions, " positions"));
      }
    }
    relative_bias(device, size, from.data<T>(), at.data<std::int64_t>(), y.data<T>());
  });
  return record("relative_bias", y, {table}, [size, at](const Tensor& gradient, Wanted) {
    const Tensor dy = packed(gradient), dtable = empty({size.positions, size.heads}, dy.dtype(), dy.device());
    launch("relative_bias", dy, [&](auto device, auto number) {
      using T = decltype(number);
      relative_bias_gradient(device, size, dy.data<T>(), at.data<std::int64_t>(), dtable.data<T>());
    });
    return std::vector{dtable};
  });
}

}  // namespace trident
