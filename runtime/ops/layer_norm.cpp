#include "runtime/ops/layer_norm.h"

#include <algorithm>
#include <array>
#include <initializer_list>

#include "runtime/autograd/tape.h"
#include "runtime/kernels/batch_norm.h"
#include "runtime/kernels/layer_norm.h"
#include "runtime/kernels/linear_norm.h"
#include "runtime/kernels/mlp.h"
#include "runtime/ops/elementwise.h"
#include "runtime/ops/into.h"
#include "runtime/ops/shape.h"
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

/// Numbers (width,), or (width, 1) as a linear layer of one input has them.
void require_numbers(const Tensor& x, const char* name, const Tensor& numbers) {
  if (numbers.numel() != x.size(-1) || numbers.size(0) != x.size(-1)) {
    throw ShapeError(
        concat("layer_norm: x ", to_string(x.shape()), " takes a ", name, " (", x.size(-1), ",), got ", to_string(numbers.shape())));
  }
  require_type("layer_norm", x, name, numbers, wide(x.dtype()));
}

void require_of_samples(const Tensor& x, const char* name, const Tensor& numbers, std::int64_t samples) {
  if (numbers.numel() != samples) {
    throw ShapeError(concat("layer_norm: ", samples, " samples take a ", name, " each, got ", to_string(numbers.shape())));
  }
  require_type("layer_norm", x, name, numbers, wide(x.dtype()));
}

NormRows rows_of(const Tensor& x, const NormAffine& affine, const Tensor& residual, const std::optional<SampleRows>& part) {
  if (x.rank() < 1) throw ShapeError("layer_norm: x is a scalar; it needs a last axis");
  const std::int64_t width = x.size(-1), rows = numel(Shape(std::span(x.shape().begin(), x.shape().end() - 1)));
  const bool plain = !affine.time.defined() && !affine.factor.defined();
  const std::int64_t samples = plain ? 1 : part ? part->samples : x.size(0);
  require_numbers(x, "scale", affine.scale);
  if (affine.shift.defined()) require_numbers(x, "shift", affine.shift);
  if (affine.time.defined()) {
    require_numbers(x, "scale_slope", affine.scale_slope);
    require_numbers(x, "shift_slope", affine.shift_slope);
    require_of_samples(x, "time", affine.time, samples);
  }
  if (affine.factor.defined()) require_of_samples(x, "factor", affine.factor, samples);
  if (residual.defined() && residual.shape() != x.shape()) {
    throw ShapeError(concat("layer_norm: residual ", to_string(residual.shape()), " is not of x's shape ", to_string(x.shape())));
  }
  if (residual.defined()) require_type("layer_norm", x, "residual", residual, x.dtype());
  if (!part || plain) return {samples, samples == 0 ? 0 : rows / samples, width};
  if (part->first < 0 || part->first + rows > part->samples * part->rows_per_sample) {
    throw ShapeError(concat("layer_norm: ", rows, " rows from row ", part->first, " on are more than ", part->samples, " samples of ",
                            part->rows_per_sample));
  }
  return {part->samples, part->rows_per_sample, width, part->first, rows};
}

template <class T>
T* data_or_null(const Tensor& x) {
  return x.defined() ? x.data<T>() : nullptr;
}

Tensor packed_if_any(const Tensor& x) { return x.defined() ? packed(x).detached() : Tensor{}; }

NormAffine packed_numbers(const NormAffine& a) {
  return {packed_if_any(a.scale),       packed_if_any(a.shift), packed_if_any(a.scale_slope),
          packed_if_any(a.shift_slope), packed_if_any(a.time),  packed_if_any(a.factor)};
}

template <class W>
NormNumbers<W> numbers_of(const NormAffine& a) {
  return {a.scale.data<W>(),       data_or_null<W>(a.shift), data_or_null<W>(a.scale_slope), data_or_null<W>(a.shift_slope),
          data_or_null<W>(a.time), data_or_null<W>(a.factor)};
}

struct SavedRows {
  NormRows extents;
  Tensor x;
  NormAffine affine;
  Tensor mean, rstd;
};

/// Inputs: x, residual, scale, shift, and the slopes of both.
std::vector<Tensor> layer_norm_backward(const SavedRows& saved, const Tensor& dy, Wanted wanted) {
  const Tensor from = packed(dy);
  const std::array numbers{saved.affine.scale, saved.affine.shift, saved.affine.scale_slope, saved.affine.shift_slope};
  std::vector<Tensor> found(6);
  if (wanted[0]) found[0] = empty_like(saved.x);
  if (wanted[1]) found[1] = dy;
  if (saved.extents.count == 0) {
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      if (wanted[i + 2]) found[i + 2] = zeros(numbers[i].shape(), numbers[i].dtype(), numbers[i].device());
    }
    return found;
  }
  std::array<GradientPlace, 4> places;
  for (std::size_t i = 0; i < places.size(); ++i) {
    if (!wanted[i + 2]) continue;
    places[i] = wanted.place(i + 2, numbers[i].shape(), numbers[i].dtype(), numbers[i].device());
    found[i + 2] = places[i].result;
  }
  const GradientPlace bias = wanted.place_of_bias(0, {saved.extents.width}, wide(saved.x.dtype()), saved.x.device());
  launch_activations("layer_norm", saved.x, [&](auto device, auto type) {
    using T = decltype(type);
    using W = Wide<T>;
    const NormSums<W> to{into<W>(places[0]), into<W>(places[1]), into<W>(places[2]), into<W>(places[3]), into<W>(bias)};
    if (!wanted[0] && !to.any()) return;
    layer_norm_gradient<T>(device, saved.extents,
                           {saved.x.data<T>(), from.data<T>(), numbers_of<W>(saved.affine), data_or_null<W>(saved.mean),
                            data_or_null<W>(saved.rstd), data_or_null<T>(found[0]), to});
  });
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

bool is_recorded(const Tensor& x) { return x.defined() && x.node() != nullptr; }

/// Zeros with the slopes along times and factors that the normalised rows of x have. No training asks for them, so the kernels have none.
Tensor slopes_of_samples(const Tensor& x, const NormAffine& affine, double eps) {
  const std::int64_t width = x.size(-1);
  Shape of_samples = x.shape();
  for (int dim = 1; dim < x.rank(); ++dim) of_samples[dim] = 1;
  const Tensor ones = full({width}, 1.0, x.dtype(), x.device()), zero = zeros({width}, x.dtype(), x.device());
  const Tensor plain = layer_norm(x.detached(), {ones, zero}, eps);
  const auto applied = [&](const Tensor& scale, const Tensor& shift) {
    return plain * reshape(scale.detached(), {width}) + reshape(shift.detached(), {width});
  };
  Tensor y = applied(affine.scale, affine.shift);
  if (affine.time.defined()) y = y + reshape(affine.time, of_samples) * applied(affine.scale_slope, affine.shift_slope);
  if (affine.factor.defined()) y = y * reshape(affine.factor, of_samples);
  return y - y.detached();
}

/// `rest`: where to put what rounding takes of the sum; undefined if that is not wanted. Without `eps` rows are not normalised.
Tensor normalised_rows(const Tensor& x, const NormAffine& affine, std::optional<double> eps, const CarriedSum& residual,
                       const std::optional<SampleRows>& part, const Tensor& rest) {
  const NormRows extents = rows_of(x, affine, residual.value, part);
  const Tensor in = packed(x).detached(), base = packed_if_any(residual.value), base_rest = packed_if_any(residual.rest);
  const NormAffine numbers = packed_numbers(affine);
  const Tensor y = empty_like(in);
  Tensor mean, rstd;
  if (eps) mean = empty({extents.count}, wide(x.dtype()), x.device()), rstd = empty_like(mean);
  launch_activations("layer_norm", in, [&](auto device, auto type) {
    using T = decltype(type);
    using W = Wide<T>;
    const NormResidual<T> addend{data_or_null<T>(base), data_or_null<T>(base_rest), data_or_null<T>(rest)};
    layer_norm(device, extents, eps.value_or(0.0), in.data<T>(), numbers_of<W>(numbers), addend, y.data<T>(), data_or_null<W>(mean),
               data_or_null<W>(rstd));
  });
  const SavedRows saved{extents, in, numbers, mean, rstd};
  const Tensor result = record("layer_norm", y, {x, residual.value, affine.scale, affine.shift, affine.scale_slope, affine.shift_slope},
                               [saved](const Tensor& dy, Wanted wanted) { return layer_norm_backward(saved, dy, wanted); });
  if (!is_recorded(affine.time) && !is_recorded(affine.factor)) return result;
  if (part || x.dtype() == DType::bf16) {
    throw ShapeError("layer_norm: in bf16 and of parts of the rows times and factors get no gradient; detach them");
  }
  return result + slopes_of_samples(x, affine, *eps);
}

}  // namespace

CarriedSum carried(const Tensor& x, DType dtype) {
  const Tensor value = cast(x, dtype);
  if (dtype != DType::bf16 || x.dtype() == dtype) return {value, {}};
  const Recording off(false);
  return {value, cast(x - cast(value, x.dtype()), dtype)};
}

Tensor layer_norm(const Tensor& x, const NormAffine& affine, double eps, const Tensor& residual, const std::optional<SampleRows>& part) {
  return normalised_rows(x, affine, eps, {residual, {}}, part, {});
}

CarriedSum add_layer_norm(const CarriedSum& residual, const Tensor& x, const NormAffine& affine, double eps,
                          const std::optional<SampleRows>& part) {
  const Tensor rest = x.dtype() == DType::bf16 ? empty(x.shape(), x.dtype(), x.device()) : Tensor{};
  return {normalised_rows(x, affine, eps, residual, part, rest), rest};
}

Tensor add_scaled(const Tensor& residual, const Tensor& x, const Tensor& scale) {
  return normalised_rows(x, {.scale = scale, .shift = {}}, std::nullopt, {residual, {}}, {}, {});
}

namespace {

CarriedSum ended(const Tensor& x, const NormEnding& ending) {
  if (ending.sum.value.defined()) return add_layer_norm(ending.sum, x, ending.affine, ending.eps);
  return {layer_norm(x, ending.affine, ending.eps), {}};
}

Shape with_last(Shape shape, std::int64_t last) {
  shape[shape.rank() - 1] = last;
  return shape;
}

LinearSize product_of(const Tensor& x, std::int64_t in, std::int64_t out) { return {numel(with_last(x.shape(), 1)), in, out}; }

bool is_one_kernel(const Tensor& x, const LinearSize& size) {
  if constexpr (build::kHasCuda) {
    return x.is_cuda() && x.dtype() == DType::bf16 && !Recording::is_on() && fits_linear_norm(size);
  }
  return false;
}

bool are_aligned(std::initializer_list<const Tensor*> tensors) {
  constexpr std::uintptr_t kBytes = 16;
  return std::ranges::all_of(tensors,
                             [](const Tensor* x) { return !x->defined() || reinterpret_cast<std::uintptr_t>(x->bytes()) % kBytes == 0; });
}

}  // namespace

CarriedSum linear_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, const NormEnding& ending) {
  check_linear("linear_norm", x, weight, bias);
  const LinearSize size = product_of(x, weight.size(1), weight.size(0));
  if (!is_one_kernel(x, size)) return ended(linear(x, weight, bias), ending);
  const Tensor in = packed(x).detached(), w = packed(weight).detached(), b = packed_if_any(bias);
  const Tensor base = packed_if_any(ending.sum.value), base_rest = packed_if_any(ending.sum.rest);
  const NormAffine numbers = packed_numbers(ending.affine);
  if (!are_aligned({&in, &w, &b, &base, &base_rest, &numbers.scale, &numbers.shift, &numbers.scale_slope, &numbers.shift_slope})) {
    return ended(linear(x, weight, bias), ending);
  }
  const Tensor y = empty(with_last(x.shape(), size.out), x.dtype(), x.device()), rest = base.defined() ? empty_like(y) : Tensor{};
  const NormRows rows = rows_of(y, ending.affine, base, {});
  on_device_of("linear_norm", x, [&]([[maybe_unused]] auto device) {
    if constexpr (std::is_same_v<decltype(device), Cuda>) {
      linear_norm(device, size, rows, ending.eps,
                  {in.data<bf16>(),
                   w.data<bf16>(),
                   data_or_null<bf16>(b),
                   numbers_of<float>(numbers),
                   {data_or_null<bf16>(base), data_or_null<bf16>(base_rest), data_or_null<bf16>(rest)},
                   y.data<bf16>()});
    }
  });
  return {y, rest};
}

CarriedSum mlp_norm(const Tensor& x, const Tensor& up, const Tensor& up_bias, const Tensor& down, const Tensor& down_bias,
                    Activation activation, const NormEnding& ending) {
  check_linear("mlp_norm", x, up, up_bias);
  const LinearSize second = product_of(x, up.size(0), down.size(0));
  if (!is_one_kernel(x, second)) return ended(mlp(x, up, up_bias, down, down_bias, activation), ending);
  const Tensor in = packed(x), weight = packed(up), bias = packed_if_any(up_bias);
  const Tensor hidden = empty(with_last(x.shape(), second.in), x.dtype(), x.device());
  on_device_of("mlp_norm", x, [&]([[maybe_unused]] auto device) {
    if constexpr (std::is_same_v<decltype(device), Cuda>) {
      const MlpSize size{.rows = second.rows, .in = up.size(1), .hidden = second.in, .activation = activation};
      const MlpWeights<bf16> weights{.up = weight.data<bf16>(), .up_bias = data_or_null<bf16>(bias)};
      mlp_hidden<bf16>(device, size, in.data<bf16>(), weights, nullptr, hidden.data<bf16>());
    }
  });
  return linear_norm(hidden, down, down_bias, ending);
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
