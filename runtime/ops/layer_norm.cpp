#include "runtime/ops/layer_norm.h"

#include "runtime/autograd/tape.h"
#include "runtime/kernels/batch_norm.h"
#include "runtime/kernels/layer_norm.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

void require_type_of(const char* op, const Tensor& x, const char* name, const Tensor& other) {
  if (other.dtype() != x.dtype()) {
    throw ShapeError(concat(op, ": x is ", name_of(x.dtype()), " and ", name, " is ", name_of(other.dtype()), "; convert one with cast()"));
  }
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
  require_type_of("layer_norm", x, "scale", scale);
  require_type_of("layer_norm", x, "shift", shift);
  if (residual.defined()) require_type_of("layer_norm", x, "residual", residual);
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
  const Tensor workspace = empty({layer_norm_workspace(saved.extents)}, saved.x.dtype(), saved.x.device());
  launch("layer_norm", saved.x, [&](auto device, auto type) {
    using T = decltype(type);
    const auto data_of = [](const Tensor& x) { return x.defined() ? x.data<T>() : nullptr; };
    const NormGradient<T> gradient{saved.x.data<T>(),    from.data<T>(),    saved.scale.data<T>(), saved.mean.data<T>(),
                                   saved.rstd.data<T>(), data_of(found[0]), data_of(found[1]),     data_of(found[2])};
    layer_norm_gradient(device, saved.extents, gradient, workspace.data<T>());
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
    return {mean.data<T>(), variance.data<T>(), weight.data<T>(), bias.data<T>(), eps};
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
    require_type_of(op, x, name, *tensor);
  }
  return {{x.size(0), x.size(1), x.size(2) * x.size(3)}, packed(x), packed(weight), packed(bias), packed(mean), packed(variance), eps};
}

Tensor normalised(const char* op, const Channels& channels, Statistics statistics, const std::vector<Tensor>& inputs) {
  const Tensor y = empty_like(channels.x);
  launch(op, channels.x, [&](auto device, auto type) {
    using T = decltype(type);
    batch_norm(device, channels.extents, channels.norm<T>(), channels.x.data<T>(), y.data<T>());
  });
  return record(op, y, inputs, [op, channels, statistics](const Tensor& dy, Wanted) {
    const Tensor from = packed(dy), dx = empty_like(from), dweight = empty_like(channels.weight), dbias = empty_like(channels.weight);
    launch(op, from, [&](auto device, auto type) {
      using T = decltype(type);
      batch_norm_gradient(device, channels.extents, channels.norm<T>(), statistics, channels.x.data<T>(), from.data<T>(), dx.data<T>(),
                          dweight.data<T>(), dbias.data<T>());
    });
    return std::vector{dx, dweight, dbias};
  });
}

}  // namespace

Tensor layer_norm(const Tensor& x, const Tensor& scale, const Tensor& shift, double eps, const Tensor& residual,
                  const std::optional<SampleRows>& part) {
  const NormRows extents = rows_of(x, scale, shift, residual, part);
  const Tensor in = packed(x), gain = packed(scale), offset = packed(shift), base = residual.defined() ? packed(residual) : Tensor{};
  const Tensor y = empty_like(in);
  const Tensor mean = empty({extents.count}, x.dtype(), x.device()), rstd = empty_like(mean);
  launch("layer_norm", in, [&](auto device, auto type) {
    using T = decltype(type);
    layer_norm(device, extents, eps, in.data<T>(), gain.data<T>(), offset.data<T>(), base.defined() ? base.data<T>() : nullptr, y.data<T>(),
               mean.data<T>(), rstd.data<T>());
  });
  const SavedRows saved{extents, in, gain, mean, rstd};
  return record("layer_norm", y, {x, scale, shift, residual},
                [saved](const Tensor& dy, Wanted wanted) { return layer_norm_backward(saved, dy, wanted); });
}

Tensor batch_norm_train(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps, Tensor& mean, Tensor& variance) {
  if (x.rank() == 4) {
    mean = empty({x.size(1)}, x.dtype(), x.device());
    variance = empty_like(mean);
  }
  const Channels channels = channels_of("batch_norm_train", x, weight, bias, mean, variance, eps);
  launch("batch_norm_train", channels.x, [&](auto device, auto type) {
    using T = decltype(type);
    channel_statistics(device, channels.extents, channels.x.data<T>(), mean.data<T>(), variance.data<T>());
  });
  return normalised("batch_norm_train", channels, Statistics::own, {x, weight, bias});
}

Tensor batch_norm_eval(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& mean, const Tensor& variance, double eps) {
  return normalised("batch_norm_eval", channels_of("batch_norm_eval", x, weight, bias, mean, variance, eps), Statistics::given,
                    {x, weight, bias});
}

}  // namespace trident
