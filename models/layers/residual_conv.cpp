#include "models/layers/residual_conv.h"

#include "parallel/collectives.h"
#include "parallel/exchange.h"
#include "runtime/autograd/tape.h"
#include "runtime/error.h"
#include "runtime/ops/convolution.h"
#include "runtime/ops/elementwise.h"
#include "runtime/ops/layer_norm.h"
#include "runtime/ops/matmul.h"
#include "runtime/ops/shape.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

constexpr std::int64_t kDepthwiseKernel = 2 * ConvNextBlock::kReach + 1, kResNetKernel = 2 * ResNetBlock::kReach + 1, kExpansion = 4;
constexpr double kInitialLayerScale = 1e-6;
constexpr double kBatchNormEps = 1e-5, kMomentum = 0.1, kNegativeSlope = 0.01;  // PyTorch's defaults

constexpr AxisSet kBatchAxes = (Axis::data | Axis::domain_y) | Axis::domain_x;

Tensor leaky_relu(const Tensor& x) { return relu(x) - affine(relu(affine(x, -1.0)), kNegativeSlope); }

/// target = (1 - kMomentum) * target + kMomentum * scale * value
void fold_in(const Tensor& target, const Tensor& value, double scale) {
  const Recording off(false);
  copy_into(target, affine(target, 1.0 - kMomentum) + affine(value, kMomentum * scale));
}

void count_one_more(const Tensor& count) {
  const Recording off(false);
  const Tensor number = empty(count.shape(), DType::f64, count.device());
  copy_into(number, count);
  copy_into(count, affine(number, 1.0, 1.0));
}

Tensor as_fields(const Tensor& tokens) { return contiguous(permute(tokens, {0, 3, 1, 2})); }
Tensor as_tokens(const Tensor& fields) { return contiguous(permute(fields, {0, 2, 3, 1})); }

}  // namespace

ConvNextBlock::ConvNextBlock(std::int64_t width, Conditioning conditioning, double eps, double deviation, const Mesh& mesh)
    : scale(whole_parameter({width}, Init::constant(kInitialLayerScale))),
      conv_weight(whole_parameter({width, 1, kDepthwiseKernel, kDepthwiseKernel}, Init::normal(deviation))),
      conv_bias(whole_parameter({width}, Init::constant(0.0))),
      norm(conditioning, width, eps, deviation),
      up(width, kExpansion * width, Bias::zero, deviation, SplitAlong::rows, own_units(mesh, kExpansion * width), mesh),
      down(kExpansion * width, width, Bias::zero, deviation, SplitAlong::columns, own_units(mesh, kExpansion * width), mesh),
      mesh(mesh) {}

Tensor ConvNextBlock::operator()(const Tensor& x, const WindowLevel& level, const Tensor& time) const {
  const DType numbers = x.dtype();
  const Tensor wide = exchange(mesh, level.halo, x);
  const Tensor mixed = norm(depthwise_conv(wide, conv_weight.in(numbers), conv_bias.in(numbers), level.padding), time);
  const Tensor addend =
      mlp(mixed, up.weight.in(numbers), up.bias_in(numbers), down.weight.in(numbers), added_once(mesh, down.bias_in(numbers)));
  return add_scaled(x, all_reduce_sum(mesh, Axis::tensor, addend), scale.value);
}

double ConvNextBlock::flops(std::int64_t tokens) const {
  const auto d = static_cast<double>(scale.shape[0]);
  return 2.0 * static_cast<double>(tokens) * d * (kDepthwiseKernel * kDepthwiseKernel + 2.0 * kExpansion * d);
}

BatchNorm::BatchNorm(std::int64_t channels, const Mesh& mesh)
    : weight(whole_parameter({channels}, Init::constant(1.0))),
      bias(whole_parameter({channels}, Init::constant(0.0))),
      running_mean{.shape = {channels}, .initial = 0.0, .value = {}},
      running_var{.shape = {channels}, .initial = 1.0, .value = {}},
      num_batches_tracked{.shape = {}, .dtype = DType::i64, .value = {}},
      mesh(mesh) {}

Tensor BatchNorm::operator()(const Tensor& x, Mode mode) const {
  if (mode == Mode::eval) return batch_norm_eval(x, weight.value, bias.value, running_mean.value, running_var.value, kBatchNormEps);
  SumOverBatch sum;
  if (mesh.size(kBatchAxes) > 1) sum = [mesh = mesh](const Tensor& sums) { sum_in_place(mesh, kBatchAxes, sums); };
  BatchStatistics statistics;
  const Tensor y = batch_norm_train(x, weight.value, bias.value, kBatchNormEps, statistics, sum);
  if (runs_again()) return y;
  fold_in(running_mean.value, statistics.mean, 1.0);
  fold_in(running_var.value, statistics.variance, statistics.count / (statistics.count - 1.0));  // PyTorch keeps the unbiased one
  count_one_more(num_batches_tracked.value);
  return y;
}

ResNetBlock::ResNetBlock(std::int64_t width, const Mesh& mesh, double deviation)
    : conv1_weight(whole_parameter({width, width, kResNetKernel, kResNetKernel}, Init::normal(deviation))),
      conv1_bias(whole_parameter({width}, Init::constant(0.0))),
      conv2_weight(whole_parameter({width, width, kResNetKernel, kResNetKernel}, Init::normal(deviation))),
      conv2_bias(whole_parameter({width}, Init::constant(0.0))),
      norm1(width, mesh),
      norm2(width, mesh),
      mesh(mesh) {}

Tensor ResNetBlock::operator()(const Tensor& x, const WindowLevel& level, Mode mode) const {
  const DType numbers = x.dtype();
  const Tensor fields = as_fields(exchange(mesh, level.halo, x));
  const Tensor first = leaky_relu(norm1(conv2d(fields, conv1_weight.in(numbers), conv1_bias.in(numbers), level.padding), mode));
  const Tensor wide = level.halo.is_identity() ? first : as_fields(exchange(mesh, level.halo, as_tokens(first)));
  const Tensor second = norm2(conv2d(wide, conv2_weight.in(numbers), conv2_bias.in(numbers), level.padding), mode);
  return as_tokens(second) + x;
}

double ResNetBlock::flops(std::int64_t tokens) const {
  const auto d = static_cast<double>(conv1_bias.shape[0]);
  return 2.0 * static_cast<double>(tokens) * 2.0 * kResNetKernel * kResNetKernel * d * d;
}

Tensor ResidualBlock::operator()(const Tensor& x, const WindowLevel& level, const Tensor& time, const Pass& pass) const {
  if (const auto* convnext = std::get_if<ConvNextBlock>(&block)) return (*convnext)(x, level, time);
  return std::get<ResNetBlock>(block)(x, level, pass.mode);
}

double ResidualBlock::flops(std::int64_t tokens) const {
  return std::visit([&](const auto& block) { return block.flops(tokens); }, block);
}

}  // namespace trident
