#include "runtime/ops/layer_norm.h"

#include "runtime/autograd/tape.h"
#include "runtime/kernels/batch_norm.h"
#include "runtime/kernels/layer_norm.h"
#include "runtime/ops/elementwise.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

/// `expected`: the number type that `other` has beside x.
void require_type(const char* op, const Tensor& x, const char* name, const Tensor& other, DType expected) {
  if (other.dtype() == expected) return;
  throw ShapeError(concat(op, ": x is ", name_of(x.dtype()), " and takes a ", name, " of ", name_of(expected), ", got ",
                          name_of(other.dtype()), "; convert it with cast()"));
}

NormRows rows_of(const Tensor& x, const Tensor& scale, const Tensor& shift, const Tensor& residual, const std::optional<SampleRows>& part) {
  if (x.rank() < 1) throw ShapeError("layer_norm: x is a scalar; it needs a last axis");
  const std::int64_t width = x.size(-1);
  const bool plain = scale.shape() == Shape{width};
  if (!plain && (x.rank() < 2 || scale.shape() != Shape{part ? part->samples : x.size(0), width})) {
    throw ShapeError(concat("layer_norm: x ", to_string(x.shape()), " takes a scale of shape (", width, ",) or one row per sample, got ",
                            to_string(scale.shape())));
  }
  if (shift.shape() != scale.shape()) {
    throw ShapeError(concat("layer_norm: scale ", to_string(scale.shape()), " and shift ", to_string(shift.shape()), " differ"));
  }
  if (residual.defined() && residual.shape() != x.shape()) {
    throw ShapeError(concat("layer_norm: residual ", to_string(residual.shape()), " is not of x's shape ", to_string(x.shape())));
  }
  require_type("layer_norm", x, "scale", scale, wide(x.dtype()));
  require_type("layer_norm", x, "shift", shift, wide(x.dtype()));
  if (residual.defined()) require_type("layer_norm", x, "residual", residual, x.dtype());
  std::int64_t rows = 1;
  for (int dim = 0; dim < x.rank() - 1; ++dim) rows *= x.size(dim);
  if (part && !plain) {
    if (part->first < 0 || part->first + rows > part->samples * part->rows_per_sample) {
      throw ShapeError(concat("layer_norm: ", rows, " rows from row ", part->first, " on are more than ", part->samples, " samples of ",
                              part->rows_per_sample));
    }
    return {part->samples, part->rows_per_sample, width, part->first, rows};
  }
  const std::int64_t samples = plain ? 1 : x.size(0);
  return {samples, samples == 0 ? 0 : rows / samples, width};
}

template <class T>
T* data_or_null(const Tensor& x) {
  return x.defined() ? x.data<T>() : nullptr;
}

struct SavedRows {
  NormRows extents;
  Tensor x, scale, mean, rstd;
};

std::vector<Tensor> layer_norm_backward(const SavedRows& saved, const Tensor& dy, Wanted wanted) {
  const Tensor from = packed(dy);
  std::vector<Tensor> found(4);
  if (wanted[0]) found[0] = empty_like(saved.x);
  if (wanted[1] || wanted[2]) {
    found[1] = empty_like(saved.scale);
    found[2] = empty_like(saved.scale);
  }
  const Tensor workspace = empty({layer_norm_workspace(saved.extents)}, saved.scale.dtype(), saved.x.device());
  launch_activations("layer_norm", saved.x, [&](auto device, auto type) {
    using T = decltype(type);
    using W = Wide<T>;
    const NormGradient<T> gradient{saved.x.data<T>(),         from.data<T>(),           saved.scale.data<W>(),
                                   saved.mean.data<W>(),      saved.rstd.data<W>(),     data_or_null<T>(found[0]),
                                   data_or_null<W>(found[1]), data_or_null<W>(found[2])};
    layer_norm_gradient(device, saved.extents, gradient, workspace.data<W>());
  });
  if (wanted[3]) found[3] = dy;
  return found;
}

struct Channels {
  NormChannels extents;
  Tensor x, weight, bias, mean, variance;
  double eps;

  template <class T>
  ChannelNorm<T> norm() const {
    using W = Wide<T>;
    return {mean.data<W>(), variance.data<W>(), weight.data<W>(), bias.data<W>(), eps};
  }
};

Channels channels_of(const char* op, const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& mean, const Tensor& variance,
                     double eps) {
  if (x.rank() != 4) throw ShapeError(concat(op, ": fields are (batch, channel, y, x), got ", to_string(x.shape())));
  for (const auto& [name, tensor] : {std::pair{"weight", &weight}, {"bias", &bias}, {"mean", &mean}, {"variance", &variance}}) {
    if (tensor->shape() != Shape{x.size(1)}) {
      throw ShapeError(concat(op, ": ", name, " ", to_string(tensor->shape()), " does not fit the ", x.size(1), " channels of x ",
                              to_string(x.shape())));
    }
    require_type(op, x, name, *tensor, wide(x.dtype()));
  }
  return {{x.size(0), x.size(1), x.size(2) * x.size(3)}, packed(x), packed(weight), packed(bias), packed(mean), packed(variance), eps};
}

Tensor normalised(const char* op, const Channels& channels) {
  const Tensor y = empty_like(channels.x);
  launch_activations(op, channels.x, [&](auto device, auto type) {
    using T = decltype(type);
    batch_norm(device, channels.extents, channels.norm<T>(), channels.x.data<T>(), y.data<T>());
  });
  return y;
}

/// `means` turns the sums that gradients to weight and bias are into means over the batch; without it the statistics are given.
template <class Means>
std::vector<Tensor> batch_norm_backward(const char* op, const Channels& channels, const Tensor& dy, Means means) {
  const Tensor from = packed(dy), dx = empty_like(from), dweight = empty_like(channels.weight), dbias = empty_like(channels.weight);
  launch_activations(op, from, [&](auto device, auto type) {
    using T = decltype(type);
    using W = Wide<T>;
    batch_norm_gradient_sums<T>(device, channels.extents, channels.norm<T>(), channels.x.data<T>(), from.data<T>(), dweight.data<W>(),
                                dbias.data<W>());
    const Tensor mean_along = means(dweight), mean_slope = means(dbias);
    batch_norm_gradient<T>(device, channels.extents, channels.norm<T>(), data_or_null<W>(mean_along), data_or_null<W>(mean_slope),
                           channels.x.data<T>(), from.data<T>(), dx.data<T>());
  });
  return {dx, dweight, dbias};
}

/// sums / count, in the number type of what belongs to channels.
Tensor mean_of(const Tensor& sums, double count, DType dtype) { return cast(affine(sums, 1.0 / count), dtype); }

/// Sums over the whole batch of every channel's x, or of its squared distance from a center.
Tensor sums_over_batch(const NormChannels& extents, const Tensor& x, const Tensor& center, const SumOverBatch& sum) {
  const Tensor sums = empty({extents.channels}, DType::f64, x.device());
  launch_activations("batch_norm_train", x, [&](auto device, auto type) {
    using T = decltype(type);
    channel_sums<T>(device, extents, x.data<T>(), data_or_null<Wide<T>>(center), sums.data<double>());
  });
  if (sum) sum(sums);
  return sums;
}

BatchStatistics statistics_of(const Tensor& x, const SumOverBatch& sum) {
  const Recording off(false);
  const Tensor in = packed(x);
  const NormChannels extents{x.size(0), x.size(1), x.size(2) * x.size(3)};
  BatchStatistics result{.mean = {}, .variance = {}, .count = static_cast<double>(extents.batch * extents.points)};
  if (sum) {
    const Tensor count = full({1}, result.count, DType::f64, x.device());
    sum(count);
    result.count = to_number(count);
  }
  result.mean = mean_of(sums_over_batch(extents, in, {}, sum), result.count, wide(x.dtype()));
  result.variance = mean_of(sums_over_batch(extents, in, result.mean, sum), result.count, wide(x.dtype()));
  return result;
}

/// `rest`: where to put what rounding takes of the sum; undefined if that is not wanted.
Tensor normalised_rows(const Tensor& x, const Tensor& scale, const Tensor& shift, double eps, const CarriedSum& residual,
                       const std::optional<SampleRows>& part, const Tensor& rest) {
  const NormRows extents = rows_of(x, scale, shift, residual.value, part);
  const auto packed_if_any = [](const Tensor& tensor) { return tensor.defined() ? packed(tensor) : Tensor{}; };
  const Tensor in = packed(x), gain = packed(scale), offset = packed(shift), base = packed_if_any(residual.value),
               base_rest = packed_if_any(residual.rest);
  const Tensor y = empty_like(in);
  const Tensor mean = empty({extents.count}, scale.dtype(), x.device()), rstd = empty_like(mean);
  launch_activations("layer_norm", in, [&](auto device, auto type) {
    using T = decltype(type);
    using W = Wide<T>;
    const NormResidual<T> addend{data_or_null<T>(base), data_or_null<T>(base_rest), data_or_null<T>(rest)};
    layer_norm(device, extents, eps, in.data<T>(), gain.data<W>(), offset.data<W>(), addend, y.data<T>(), mean.data<W>(), rstd.data<W>());
  });
  const SavedRows saved{extents, in, gain, mean, rstd};
  return record("layer_norm", y, {x, scale, shift, residual.value},
                [saved](const Tensor& dy, Wanted wanted) { return layer_norm_backward(saved, dy, wanted); });
}

}  // namespace

CarriedSum carried(const Tensor& x, DType dtype) {
  const Tensor value = cast(x, dtype);
  if (dtype != DType::bf16 || x.dtype() == dtype) return {value, {}};
  const Recording off(false);
  return {value, cast(x - cast(value, x.dtype()), dtype)};
}

Tensor layer_norm(const Tensor& x, const Tensor& scale, const Tensor& shift, double eps, const Tensor& residual,
                  const std::optional<SampleRows>& part) {
  return normalised_rows(x, scale, shift, eps, {residual, {}}, part, {});
}

CarriedSum add_layer_norm(const CarriedSum& residual, const Tensor& x, const Tensor& scale, const Tensor& shift, double eps,
                          const std::optional<SampleRows>& part) {
  const Tensor rest = x.dtype() == DType::bf16 ? empty(x.shape(), x.dtype(), x.device()) : Tensor{};
  return {normalised_rows(x, scale, shift, eps, residual, part, rest), rest};
}

Tensor batch_norm_train(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps, BatchStatistics& statistics,
                        const SumOverBatch& sum) {
  if (x.rank() == 4) statistics = statistics_of(x, sum);
  const Channels channels = channels_of("batch_norm_train", x, weight, bias, statistics.mean, statistics.variance, eps);
  return record("batch_norm_train", normalised("batch_norm_train", channels), {x, weight, bias},
                [channels, sum, count = statistics.count](const Tensor& dy, Wanted) {
                  return batch_norm_backward("batch_norm_train", channels, dy, [&](const Tensor& part) {
                    const Tensor sums = empty(part.shape(), DType::f64, part.device());
                    copy_into(sums, part);
                    if (sum) sum(sums);
                    return mean_of(sums, count, part.dtype());
                  });
                });
}

Tensor batch_norm_eval(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& mean, const Tensor& variance, double eps) {
  const Channels channels = channels_of("batch_norm_eval", x, weight, bias, mean, variance, eps);
  return record("batch_norm_eval", normalised("batch_norm_eval", channels), {x, weight, bias}, [channels](const Tensor& dy, Wanted) {
    return batch_norm_backward("batch_norm_eval", channels, dy, [](const Tensor&) { return Tensor{}; });
  });
}

}  // namespace trident
