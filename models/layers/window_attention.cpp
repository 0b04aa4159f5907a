#include "models/layers/window_attention.h"

#include <cmath>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "parallel/collectives.h"
#include "parallel/exchange.h"
#include "runtime/ops/attention.h"
#include "runtime/ops/elementwise.h"
#include "runtime/ops/matmul.h"
#include "runtime/ops/shape.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"

namespace trident {
namespace {

constexpr std::int64_t kBiasHidden = 512;
constexpr double kInitialScale = 10.0;

// Places in the reference's state dict, where biases stand between the weights.
enum Place { kQueryWeight = 1, kQueryBias, kKeyWeight, kValueWeight, kValueBias };

struct Third {
  const char* name;
  int number;  // 0 query, 1 key, 2 value
  Place place;
};

/// Three tensors in one, each shared out as `part` is; those without a name are holes.
Parameter fused(const Parameter& part, const std::vector<Third>& thirds) {
  Parameter result = part;
  result.shape[0] *= 3;
  result.pieces.clear();
  for (const Third& third : thirds) {
    Piece& piece = result.pieces.emplace_back(part.pieces.front());
    piece.name = third.name, piece.offset = third.number * numel(part.shape), piece.place = third.place;
  }
  return result;
}

Parameter qkv_weight(std::int64_t d, Range own, double deviation, const Mesh& mesh) {
  return fused(split_parameter({d, d}, 0, own, Init::normal(deviation), mesh),
               {{"query.weight", 0, kQueryWeight}, {"key.weight", 1, kKeyWeight}, {"value.weight", 2, kValueWeight}});
}

Parameter qkv_bias(std::int64_t d, Range own, const Mesh& mesh) {
  return fused(split_parameter({d}, 0, own, Init::constant(0.0), mesh), {{"query.bias", 0, kQueryBias}, {"value.bias", 2, kValueBias}});
}

Range features_of(Range heads, std::int64_t head_size) { return {heads.first * head_size, heads.last * head_size}; }

/// The offset of `steps` tokens in a window, as the reference spaces it. In f32 whatever the model computes in, as there: f64 runs agree
/// to 1e-8 only otherwise.
float log_spaced(std::int64_t steps, std::int64_t window) {
  const float scaled = static_cast<float>(steps) / static_cast<float>(window - 1) * 8.0F;
  // Through f64: the f32 logarithms of different libraries differ in the last place.
  const auto magnitude = static_cast<float>(std::log2(static_cast<double>(std::fabs(scaled) + 1.0F)));
  return std::copysign(magnitude / 3.0F, scaled);
}

Tensor made_offsets(std::int64_t window, Device device) {
  std::vector<float> coordinates;
  // From the query to the key they go up; the reference counts from the key to the query.
  for (std::int64_t y = window - 1; y > -window; --y) {
    for (std::int64_t x = window - 1; x > -window; --x) {
      coordinates.push_back(log_spaced(y, window));
      coordinates.push_back(log_spaced(x, window));
    }
  }
  const Shape shape{(2 * window - 1) * (2 * window - 1), 2};
  const Tensor offsets = empty(shape, DType::f64, device);
  copy_into(offsets, from_values<float>(shape, coordinates));
  return offsets;
}

}  // namespace

Tensor log_spaced_offsets(std::int64_t window, Device device) {
  if (device.kind == Device::Kind::cpu) return made_offsets(window, device);
  static std::mutex mutex;
  static auto& made = *new std::map<std::pair<std::int64_t, Device>, Tensor>;  // on a GPU they are brought there once
  const std::lock_guard lock(mutex);
  Tensor& offsets = made[{window, device}];
  if (!offsets.defined()) offsets = made_offsets(window, device);
  return offsets;
}

WindowAttention::WindowAttention(std::int64_t width, std::int64_t heads, WindowSettings windows, Bias bias, double dropout,
                                 double deviation, const Mesh& mesh)
    : mesh_(mesh),
      width_(width),
      head_size_(width / heads),
      heads_(own_units(mesh, heads)),
      windows_(windows),
      dropout_(dropout),
      logit_scale_(split_parameter({heads, 1, 1}, 0, heads_, Init::constant(std::log(kInitialScale)), mesh)),
      bias_up_(2, kBiasHidden, Bias::zero, deviation),
      bias_down_(kBiasHidden, heads, Bias::none, deviation, SplitAlong::rows, heads_, mesh),
      qkv_weight_(qkv_weight(width, features_of(heads_, head_size_), deviation, mesh)),
      output_(width, width, Bias::zero, deviation, SplitAlong::columns, features_of(heads_, head_size_), mesh) {
  if (bias == Bias::zero) qkv_bias_ = qkv_bias(width, features_of(heads_, head_size_), mesh);
  bias_up_.weight.prepared = bias_up_.bias->prepared = bias_down_.weight.prepared = true;
}

PositionBiasMlp WindowAttention::bias_mlp(Heads heads) const {
  const Tensor& own = bias_down_.weight.value;
  const std::vector<std::int64_t> counts = part_sizes(width_ / head_size_, mesh_.size(Axis::tensor));
  return {bias_up_.weight.value, bias_up_.bias->value, heads == Heads::own ? own : all_gather(mesh_, Axis::tensor, own, counts)};
}

Tensor WindowAttention::attend(const Tensor& tokens, const WindowLevel& level, const WindowPart& part, const Tensor& position_bias,
                               const Pass& pass) const {
  const Tensor qkv = linear(tokens, qkv_weight_.in(tokens.dtype()), qkv_bias_ ? qkv_bias_->in(tokens.dtype()) : Tensor{});
  const WindowGrid grid{.window = windows_.window,
                        .roll = windows_.shift > 0 ? level.roll : 0,
                        .mask_shift = windows_.shift,
                        .first_row = part.first_row,
                        .first_column = part.first_column,
                        .global_rows = padded(level.grid.rows),
                        .global_columns = padded(level.grid.columns)};
  const AttentionDropout dropout{.probability = pass.mode == Mode::train ? dropout_ : 0.0,
                                 .key = pass.key.fold("attention"),
                                 .first_sample = pass.first_sample,
                                 .first_head = heads_.first};
  // In the product's own place on the tape, to which any shape's gradient is as good: so the attention finds the product's bias.
  const Tensor thirds =
      view::reshape(qkv.detached(), {tokens.size(0), tokens.size(1), tokens.size(2), 3, heads_.size(), head_size_}).with_node(qkv.node());
  return window_attention(thirds, logit_scale_.value, position_bias, grid, dropout);
}

Tensor WindowAttention::attended(const Tensor& tokens, const WindowLevel& level, const Tensor& position_bias, const Pass& pass) const {
  const std::vector<WindowPart>& parts = windows_.shift > 0 ? level.shifted : level.plain;
  std::vector<Exchange> coming, leaving;
  for (const WindowPart& part : parts) {
    if (!part.arriving.is_local()) coming.emplace_back(mesh_, part.arriving, tokens);
  }
  Tensor sum;
  const auto add = [&sum](const Tensor& home) { sum = sum.defined() ? sum + home : home; };
  auto next = coming.begin();
  for (const WindowPart& part : parts) {
    const ExchangePlan home = part.arriving.transposed();
    if (part.arriving.is_local()) {  // computed while the others' tokens are on their way
      add(exchange(mesh_, home, attend(exchange(mesh_, part.arriving, tokens), level, part, position_bias, pass)));
    } else {
      leaving.emplace_back(mesh_, home, attend(std::move(*next++).finish(), level, part, position_bias, pass));
    }
  }
  for (Exchange& results : leaving) add(std::move(results).finish());
  return sum;
}

Tensor WindowAttention::operator()(const Tensor& tokens, const WindowLevel& level, const Tensor& position_bias, const Pass& pass) const {
  return linear(attended(tokens, level, position_bias, pass), output_.weight.in(tokens.dtype()),
                added_once(mesh_, output_.bias_in(tokens.dtype())));
}

CarriedSum WindowAttention::operator()(const Tensor& tokens, const WindowLevel& level, const Tensor& position_bias, const Pass& pass,
                                       const NormEnding& ending) const {
  return linear_norm(attended(tokens, level, position_bias, pass), output_.weight.in(tokens.dtype()), output_.bias_in(tokens.dtype()),
                     ending);
}

double WindowAttention::flops(std::int64_t rows, std::int64_t columns) const {
  const double padded_tokens = static_cast<double>(padded(rows) * padded(columns)), tokens = static_cast<double>(rows * columns);
  const auto d = static_cast<double>(width_);
  const double window_tokens = static_cast<double>(windows_.window * windows_.window);
  return 2.0 * (3.0 * d * d * padded_tokens + 2.0 * d * window_tokens * padded_tokens + d * d * tokens);
}

}  // namespace trident
