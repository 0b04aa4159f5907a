#include "models/layers/skip_connection.h"

#include "runtime/ops/convolution.h"
#include "runtime/ops/elementwise.h"
#include "runtime/ops/shape.h"

namespace trident {
namespace {

/// The neighbours of each point as channels, offset by offset (the last axis fastest): (batch, kernel^dims * channel, space...) of a field
/// with its margin.
Tensor neighbours(const Tensor& wide, std::int64_t kernel) {
  std::vector<Tensor> shifted{wide};
  for (int dim = 2; dim < wide.rank(); ++dim) {
    const std::int64_t points = wide.size(dim) - kernel + 1;
    std::vector<Tensor> next;
    for (const Tensor& field : shifted) {
      for (std::int64_t offset = 0; offset < kernel; ++offset) next.push_back(slice(field, dim, offset, offset + points));
    }
    shifted = std::move(next);
  }
  return concatenate(shifted, 1);
}

/// (out, in, kernel...) as the matrix that takes neighbours().
Tensor matrix_of(const Tensor& weight) {
  const std::int64_t out = weight.size(0), in = weight.size(1);
  const Tensor flat = reshape(weight, {out, in, -1});
  return reshape(contiguous(permute(flat, {0, 2, 1})), {out, -1});
}

Tensor convolve(const Tensor& x, const FieldPlace& place, const Tensor& weight) {
  const std::int64_t kernel = weight.size(2), before = (kernel - 1) / 2;
  const bool planar = x.rank() == 4 && kernel % 2 == 1;
  if (planar && place.is_whole()) return conv2d(x, weight, {}, before);
  // An even kernel reaches one point further behind than before, as torch's padding="same".
  const Tensor wide = place.with_margin(x, before, kernel - 1 - before);
  if (planar) return conv2d(wide, weight, {}, 0);
  return mix_channels(neighbours(wide, kernel), matrix_of(weight), {}, {});
}

}  // namespace

SkipConnection::SkipConnection(SkipKind kind, std::int64_t channels, int dims, std::int64_t kernel) : kind_(kind) {
  switch (kind) {
    case SkipKind::identity:
      return;
    case SkipKind::linear:
      weight_ = whole_parameter({channels, channels, 1}, torch_init(channels));
      return;
    case SkipKind::soft_gating:
      weight_ = whole_parameter(per_channel(dims + 2, channels), Init::constant(1.0));
      return;
    case SkipKind::convolution: {
      Shape shape{channels, channels};
      std::int64_t fan_in = channels;
      for (int dim = 0; dim < dims; ++dim) shape.push_back(kernel), fan_in *= kernel;
      weight_ = whole_parameter(shape, torch_init(fan_in));
    }
  }
}

Tensor SkipConnection::operator()(const Tensor& x, const FieldPlace& place) const {
  switch (kind_) {
    case SkipKind::linear:
      return mix_channels(x, weight_->in(x.dtype()), {}, {});
    case SkipKind::soft_gating:
      return x * weight_->in(x.dtype());
    case SkipKind::convolution:
      return convolve(x, place, weight_->in(x.dtype()));
    case SkipKind::identity:
      break;
  }
  return x;
}

Tensor SkipConnection::add_to(const Tensor& branch, const Tensor& x, const FieldPlace& place, std::optional<NonLinearity> activation,
                              const Tensor& bias) const {
  if (kind_ == SkipKind::linear) return mix_channels(x, weight_->in(x.dtype()), bias, {.addend = branch, .activation = activation});
  return activate(branch + (*this)(x, place), activation);
}

Mix SkipConnection::map_before_gelu(const Tensor& branch, const Tensor& bias) const {
  return {weight_->in(branch.dtype()), {.bias = bias, .addend = branch, .gelu = true}};
}

Ending SkipConnection::ending(const Tensor& x, const FieldPlace& place, std::optional<NonLinearity> activation) const {
  if (kind_ == SkipKind::soft_gating) return {.addend = x, .gate = weight_->in(x.dtype()), .activation = activation};
  return {.addend = (*this)(x, place), .activation = activation};
}

double SkipConnection::flops() const { return weight_ ? 2.0 * static_cast<double>(numel(weight_->shape)) : 0.0; }

}  // namespace trident
