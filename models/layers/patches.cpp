#include "models/layers/patches.h"

#include <cmath>

#include "parallel/exchange.h"
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

/// The fields of every channel under boxes of tokens.
std::vector<GridBox> points_of(const std::vector<GridBox>& tokens, std::int64_t patch, std::int64_t channels) {
  const auto times = [](const Range& range, std::int64_t factor) { return Range{range.first * factor, range.last * factor}; };
  std::vector<GridBox> boxes;
  for (const GridBox& box : tokens) boxes.push_back({times(box.samples, channels), times(box.rows, patch), times(box.columns, patch)});
  return boxes;
}

}  // namespace

PatchEmbedding::PatchEmbedding(std::int64_t channels, std::int64_t width, std::int64_t patch, double deviation)
    : patch(patch),
      weight(whole_parameter({width, channels, patch, patch}, Init::normal(deviation))),
      bias(whole_parameter({width}, Init::constant(0.0))) {}

Tensor PatchEmbedding::operator()(const Tensor& fields, DType precision) const {
  // In the next wider type: where fields are nearly constant the norm behind it enlarges the rounding of this sum, which then is the
  // largest error of the whole model. It is one product in a hundred.
  const DType wider = precision == DType::bf16 ? DType::f32 : DType::f64;
  const auto wide = [wider](const Tensor& x) { return cast(x, wider); };
  return cast(linear(wide(patchify(fields, patch)), wide(reshape(weight.value, {weight.shape[0], -1})), wide(bias.value)), fields.dtype());
}

PatchRecovery::PatchRecovery(std::int64_t width, std::int64_t channels, std::int64_t patch, double deviation, const Domain& domain)
    : domain(domain),
      patch(patch),
      weight(whole_parameter({width, channels, patch, patch}, recovery_init(channels, patch))),
      bias(whole_parameter({channels}, recovery_init(channels, patch))),
      mixup(whole_parameter({channels, channels, kMixupKernel, kMixupKernel}, Init::normal(deviation))) {}

Tensor PatchRecovery::operator()(const Tensor& tokens, const WindowLevel& level) const {
  const std::int64_t batch = tokens.size(0), rows = tokens.size(1), columns = tokens.size(2), width = tokens.size(3);
  const std::int64_t channels = bias.shape[0], numbers = channels * patch * patch;  // of a patch; told, because a batch may be empty
  const Tensor flat = reshape(tokens, {batch * rows * columns, width});
  const Tensor patches = reshape(matmul(flat, reshape(weight.value, {width, numbers})), {batch, rows, columns, numbers});
  const Tensor fields = unpatchify(patches, patch) + reshape(bias.value, {1, channels, 1, 1});
  // Of every channel's field the points around the own ones; a rank that has all leaves them to the convolution, which pads.
  constexpr std::int64_t kReach = kMixupKernel / 2;
  const std::int64_t padding = domain.ranks() == 1 ? kReach : 0, around = kReach - padding;
  const std::vector<GridBox> planes = points_of(level.owned, patch, channels);
  const ExchangePlan halo = domain.plan(planes, with_halo(planes, around));
  const Tensor wide = exchange(domain.mesh(), halo, reshape(fields, {batch * channels, rows * patch, columns * patch, 1}));
  return conv2d(reshape(wide, {batch, channels, wide.size(1), wide.size(2)}), mixup.value, {}, padding);
}

PatchMerging::PatchMerging(std::int64_t width, Conditioning conditioning, double deviation, const Mesh& mesh)
    : mesh(mesh), reduction(4 * width, 2 * width, Bias::none, deviation), norm(conditioning, 2 * width, kNormEps, deviation) {}

Tensor PatchMerging::operator()(const Tensor& tokens, const WindowLevel& level, const WindowLevel& below, const Tensor& time) const {
  const Tensor cells = exchange(mesh, level.pairs, tokens);
  // A rank whose tokens begin no cell has cells of no samples, and so no times.
  const Tensor times = time.defined() ? slice(time, 0, 0, cells.size(0)) : time, merged = merge_cells(cells);
  return exchange(mesh, below.descend, linear_norm(merged, reduction.weight.in(merged.dtype()), {}, norm.onto({}, times)).value);
}

PatchUnmerging::PatchUnmerging(std::int64_t width, Conditioning conditioning, double deviation, const Mesh& mesh)
    : mesh(mesh),
      upsample(width, 2 * width, Bias::none, deviation),
      mixup(width / 2, width / 2, Bias::none, deviation),
      norm(conditioning, width / 2, kNormEps, deviation) {}

Tensor PatchUnmerging::operator()(const Tensor& tokens, const WindowLevel& level, const WindowLevel& above, const Tensor& time) const {
  const Tensor coarse = exchange(mesh, level.descend.transposed(), tokens);
  const Tensor cells = spread_cells(upsample(coarse), 2 * coarse.size(1), 2 * coarse.size(2));
  return mixup(norm(exchange(mesh, above.pairs.transposed(), cells), time));
}

}  // namespace trident
