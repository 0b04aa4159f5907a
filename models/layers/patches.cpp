#include "models/layers/patches.h"

#include <cmath>

#include "runtime/ops/convolution.h"
#include "runtime/ops/elementwise.h"
#include "runtime/ops/matmul.h"
#include "runtime/ops/shape.h"

namespace trident {
namespace {

constexpr double kNormEps = 1e-5;  // the reference's default: layer_norm_eps is for the blocks alone
constexpr std::int64_t kMixupKernel = 5;

/// PyTorch's default for a transposed convolution, whose fan-in it takes from the output channels.
Init recovery_init(std::int64_t channels, std::int64_t patch) {
  const double bound = 1.0 / std::sqrt(static_cast<double>(channels * patch * patch));
  return Init::uniform(-bound, bound);
}

}  // namespace

PatchEmbedding::PatchEmbedding(std::int64_t channels, std::int64_t width, std::int64_t patch, double deviation)
    : patch(patch),
      weight(whole_parameter({width, channels, patch, patch}, Init::normal(deviation))),
      bias(whole_parameter({width}, Init::constant(0.0))) {}

Tensor PatchEmbedding::operator()(const Tensor& fields) const {
  return linear(patchify(fields, patch), reshape(weight.value, {weight.shape[0], -1}), bias.value);
}

PatchRecovery::PatchRecovery(std::int64_t width, std::int64_t channels, std::int64_t patch, double deviation)
    : patch(patch),
      weight(whole_parameter({width, channels, patch, patch}, recovery_init(channels, patch))),
      bias(whole_parameter({channels}, recovery_init(channels, patch))),
      mixup(whole_parameter({channels, channels, kMixupKernel, kMixupKernel}, Init::normal(deviation))) {}

Tensor PatchRecovery::operator()(const Tensor& tokens) const {
  const std::int64_t batch = tokens.size(0), rows = tokens.size(1), columns = tokens.size(2), width = tokens.size(3);
  const std::int64_t numbers = bias.shape[0] * patch * patch;  // of a patch; told, because a batch may be empty
  const Tensor flat = reshape(tokens, {batch * rows * columns, width});
  const Tensor patches = reshape(matmul(flat, reshape(weight.value, {width, numbers})), {batch, rows, columns, numbers});
  const Tensor fields = unpatchify(patches, patch) + reshape(bias.value, {1, bias.shape[0], 1, 1});
  return conv2d(fields, mixup.value, {}, kMixupKernel / 2);
}

PatchMerging::PatchMerging(std::int64_t width, Conditioning conditioning, double deviation)
    : reduction(4 * width, 2 * width, Bias::none, deviation), norm(conditioning, 2 * width, kNormEps, deviation) {}

Tensor PatchMerging::operator()(const Tensor& tokens, const Tensor& time) const { return norm(reduction(merge_cells(tokens)), time); }

PatchUnmerging::PatchUnmerging(std::int64_t width, Conditioning conditioning, double deviation)
    : upsample(width, 2 * width, Bias::none, deviation),
      mixup(width / 2, width / 2, Bias::none, deviation),
      norm(conditioning, width / 2, kNormEps, deviation) {}

Tensor PatchUnmerging::operator()(const Tensor& tokens, const Tensor& time, std::int64_t rows, std::int64_t columns) const {
  return mixup(norm(spread_cells(upsample(tokens), rows, columns), time));
}

}  // namespace trident
