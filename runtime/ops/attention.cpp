#include "runtime/ops/attention.h"

#include <type_traits>

#include "runtime/kernels/attention.h"
#include "runtime/ops/into.h"
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
  const std::int64_t heads = qkv.size(4), side = 2 * grid.window - 1;
  if (logit_scale.numel() != heads) {
    throw ShapeError(concat("window_attention: ", heads, " heads need as many logit scales, got ", to_string(logit_scale.shape())));
  }
  if (position_bias.shape() != Shape{heads, side * side}) {
    throw ShapeError(concat("window_attention: position bias must be ", to_string(Shape{heads, side * side}), ", got ",
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
  const auto place = [&](std::size_t input, const Tensor& x) { return wanted.place(input, x.shape(), x.dtype(), x.device()); };
  const Tensor dqkv = empty_like(in.qkv);
  const GradientPlace dscale = place(1, in.logit_scale), dbias = place(2, in.position_bias);
  // The CPU's product adds up its bias's gradient while it has what it adds up in its cache.
  const GradientPlace dqkv_bias =
      in.qkv.is_cuda() ? wanted.place_of_bias(0, {3 * size.heads * size.head_size}, in.logit_scale.dtype(), dy.device()) : GradientPlace{};
  launch_activations("window_attention", dy, [&](auto device, auto number) {
    using T = decltype(number);
    window_attention_backward<T>(device, size, in.as<T>(), {data_or_null<T>(kept.y), data_or_null<Wide<T>>(kept.log_sums)}, dy.data<T>(),
                                 {dqkv.data<T>(), into<Wide<T>>(dscale), into<Wide<T>>(dbias), into<Wide<T>>(dqkv_bias)});
  });
  return {wanted[0] ? dqkv : Tensor{}, dscale.result, dbias.result};
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
  if (qkv.is_cuda() && Recording::is_on())
    kept = {y, empty({size.heads * size.tasks_per_head(), size.tokens()}, in.logit_scale.dtype(), qkv.device())};
  launch_activations("window_attention", qkv, [&](auto device, auto number) {
    using T = decltype(number);
    window_attention_forward<T>(device, size, in.as<T>(), y.data<T>(), data_or_null<Wide<T>>(kept.log_sums));
  });
  return record("window_attention", y, {qkv, logit_scale, position_bias},
                [size, in, kept](const Tensor& dy, Wanted wanted) { return backward_of(size, in, kept, packed(dy), wanted); });
}

}  // namespace trident
