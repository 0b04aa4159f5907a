#include "models/scot/scot.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "models/layers/stochastic.h"
#include "runtime/autograd/tape.h"
#include "runtime/error.h"
#include "runtime/ops/elementwise.h"
#include "runtime/ops/fft.h"
#include "runtime/ops/shape.h"

namespace trident {
namespace {

constexpr double kEmbeddingNormEps = 1e-5;  // the reference's default: layer_norm_eps is for the blocks alone

Conditioning conditioning(const ScotConfig& c) { return c.use_conditioning ? Conditioning::time : Conditioning::none; }

ScotEmbeddings make_embeddings(const ScotConfig& c) {
  ScotEmbeddings result{.position = std::nullopt,
                        .patches = PatchEmbedding(c.num_channels, c.embed_dim, c.patch_size, c.initializer_range),
                        .norm = Norm(conditioning(c), c.embed_dim, kEmbeddingNormEps, c.initializer_range)};
  if (c.use_absolute_embeddings) result.position = whole_parameter({1, c.grid() * c.grid(), c.embed_dim}, Init::constant(0.0));
  return result;
}

/// The reference derives windows from the grid of level 0, halved and rounded down, whatever the level's own grid is.
WindowSettings windows_of(const ScotConfig& c, int level, bool shifted) {
  const std::int64_t halved = c.grid() >> level;
  const bool whole = halved <= c.window_size;
  return {.window = whole ? halved : c.window_size, .shift = shifted && !whole ? c.window_size / 2 : 0};
}

/// Drop-path grows linearly over all blocks, encoder before decoder.
double drop_path_of(const ScotConfig& c, int position) {
  const int blocks = 2 * std::accumulate(c.depths.begin(), c.depths.end(), 0);
  return blocks > 1 ? c.drop_path_rate * position / (blocks - 1) : 0.0;
}

ScotBlock make_block(const ScotConfig& c, int level, bool shifted, int number, const Mesh& mesh) {
  const std::int64_t width = c.width(level);
  const std::int64_t heads = c.num_heads[static_cast<std::size_t>(level)], hidden = c.mlp_width(level);
  const Norm norm(conditioning(c), width, c.layer_norm_eps, c.initializer_range);
  return {.attention = WindowAttention(width, heads, windows_of(c, level, shifted), c.qkv_bias ? Bias::zero : Bias::none,
                                       c.attention_probs_dropout_prob, c.initializer_range, mesh),
          .norm_before = norm,
          .mlp = Mlp(width, hidden, own_columns(mesh, hidden, width, heads), c.hidden_act == "relu" ? Activation::relu : Activation::gelu,
                     c.initializer_range, mesh),
          .norm_after = norm,
          .drop_path = drop_path_of(c, number),
          .attention_dropout = c.attention_probs_dropout_prob,
          .hidden_dropout = c.hidden_dropout_prob,
          .number = static_cast<std::size_t>(number)};
}

ResidualBlock make_residual_block(const ScotConfig& c, int level, const Mesh& mesh) {
  if (c.residual_model == "resnet") return {ResNetBlock(c.width(level), mesh, c.initializer_range)};
  return {ConvNextBlock(c.width(level), conditioning(c), c.layer_norm_eps, c.initializer_range, mesh)};
}

}  // namespace

Tensor ScotBlock::operator()(const Tensor& kept, const Tensor& whole, const TokenStream& stream, const Tensor& time,
                             const Tensor& position_bias, const Pass& pass) const {
  const Pass own = pass.fold(number);
  const auto factor = [&](const char* site) { return drop_path_factor(stream.samples(), drop_path, own, site, kept.device()); };
  const auto branch = [&](const Tensor& addend, double dropout, const char* site) {
    const Tensor sum = stream.sum(addend);
    return stream.part() ? drop_elements(sum, dropout, own, site, *stream.part()) : drop_elements(sum, dropout, own, site);
  };
  const Tensor tokens = whole.defined() ? whole : stream.whole(kept);
  const Tensor context = branch(attention(tokens, position_bias, own), attention_dropout, "attention output");
  const Tensor attended = norm_before(context, time, kept, factor("drop path before"), stream.part());
  const Tensor hidden = branch(mlp(stream.whole(attended)), hidden_dropout, "mlp");
  return norm_after(hidden, time, attended, factor("drop path after"), stream.part());
}

Scot::Scot(ScotConfig config, ConfigValue document, const Mesh& mesh)
    : config_(std::move(config)),
      document_(std::move(document)),
      mesh_(mesh),
      embeddings_(make_embeddings(config_)),
      recovery_(config_.embed_dim, config_.num_out_channels, config_.patch_size, config_.initializer_range) {
  const ScotConfig& c = config_;
  const int levels = c.num_levels();
  const auto depth = [&](int level) { return c.depths[static_cast<std::size_t>(level)]; };
  int number = 0;
  for (int level = 0; level < levels; ++level) {
    EncoderLevel& stage = encoder_.emplace_back();
    for (int block = 0; block < depth(level); ++block) stage.blocks.push_back(make_block(c, level, block % 2 == 1, number++, mesh));
    if (level + 1 < levels) stage.downsample = PatchMerging(c.width(level), conditioning(c), c.initializer_range);
  }
  for (int level = levels - 1; level >= 0; --level) {
    DecoderLevel& stage = decoder_.emplace_back();
    // Shifts alternate from the end: with an even depth the first block is shifted.
    for (int block = depth(level) - 1; block >= 0; --block) stage.blocks.push_back(make_block(c, level, block % 2 == 1, number++, mesh));
    if (level > 0) stage.upsample = PatchUnmerging(c.width(level), conditioning(c), c.initializer_range);
  }
  for (int level = 0; level < levels; ++level) {
    std::vector<ResidualBlock>& blocks = residual_blocks_.emplace_back();
    for (int block = 0; block < c.skip_blocks(level); ++block) blocks.push_back(make_residual_block(c, level, mesh));
  }
}

void Scot::visit(const ParameterVisitor& visitor) { walk(*this, visitor); }

template <class Visit>
void Scot::for_each_block(const Visit& visit) const {
  for (const EncoderLevel& level : encoder_) std::ranges::for_each(level.blocks, visit);
  for (const DecoderLevel& level : decoder_) std::ranges::for_each(level.blocks, visit);
}

Prepared Scot::prepare() const {
  Prepared prepared;
  std::map<std::int64_t, RelativePositions> positions;  // by window
  for_each_block([&](const ScotBlock& block) {
    const std::int64_t window = block.attention.windows().window;
    auto found = positions.find(window);
    if (found == positions.end()) {
      found = positions.emplace(window, relative_positions(window, block.attention.device())).first;
    }
    prepared.push_back(block.attention.position_bias(found->second));
  });
  return prepared;
}

void Scot::check(const Fields& fields) const {
  const Tensor& x = fields.input;
  if (!x.defined() || x.rank() != 4 || x.size(1) != config_.num_channels || x.size(2) != x.size(3) || !is_floating(x.dtype())) {
    throw ShapeError(concat("scot: input is ", x.defined() ? concat(name_of(x.dtype()), " ", to_string(x.shape())) : "missing",
                            "; expected floating numbers (batch, ", config_.num_channels, ", n, n): num_channels is ",
                            config_.num_channels, " and fields are square"));
  }
  if (config_.use_conditioning && (!fields.time.defined() || fields.time.numel() != x.size(0))) {
    throw ShapeError(concat("scot: time is ", fields.time.defined() ? to_string(fields.time.shape()) : "missing",
                            "; this model is conditioned on time (use_conditioning) and needs one lead time for each of the ", x.size(0),
                            " samples"));
  }
  if (!fields.pixel_mask.defined()) return;
  const Shape expected{x.size(0), config_.num_out_channels, x.size(2), x.size(3)};
  if (!fields.label.defined() || fields.label.shape() != expected) {
    throw ShapeError(concat("scot: pixel_mask needs a label ", to_string(expected), " to take masked values from, got ",
                            fields.label.defined() ? to_string(fields.label.shape()) : "none"));
  }
  const Shape& mask = fields.pixel_mask.shape();
  const bool by_channel = mask == Shape{expected[0], expected[1]};
  const bool by_point = mask.rank() == 4 && mask[0] == expected[0] && (mask[1] == 1 || mask[1] == expected[1]) && mask[2] == expected[2] &&
                        mask[3] == expected[3];
  if (fields.pixel_mask.dtype() != DType::boolean || !(by_channel || by_point)) {
    throw ShapeError(concat("scot: pixel_mask is ", name_of(fields.pixel_mask.dtype()), " ", to_string(mask), "; expected bool (",
                            expected[0], ", ", expected[1], ") or (", expected[0], ", 1 or ", expected[1], ", ", expected[2], ", ",
                            expected[3], ")"));
  }
}

Tensor Scot::embed(const Tensor& input, const Tensor& time, const Pass& pass) const {
  Tensor tokens = embeddings_.norm(embeddings_.patches(input), time);
  if (embeddings_.position) {
    tokens = tokens + reshape(embeddings_.position->value, {1, config_.grid(), config_.grid(), config_.embed_dim});
  }
  return drop_elements(tokens, config_.hidden_dropout_prob, pass, "embeddings");
}

Tensor Scot::run_blocks(const std::vector<ScotBlock>& blocks, const Tensor& tokens, const Tensor& time, const Prepared& prepared,
                        const Pass& pass) const {
  const TokenStream stream(mesh_, pass.tokens, tokens.shape());
  Tensor kept = stream.kept(tokens), whole = tokens;
  for (const ScotBlock& block : blocks) {
    const Tensor& position_bias = prepared[block.number];
    const auto run = [&block, kept, whole, stream, time, position_bias, pass] { return block(kept, whole, stream, time, position_bias, pass); };
    kept = pass.recompute == Recompute::none ? run() : recompute(run);
    whole = Tensor{};
  }
  return stream.whole(kept);
}

std::vector<Tensor> Scot::encode(Tensor tokens, const Tensor& time, const Prepared& prepared, const Pass& pass) const {
  std::vector<Tensor> outputs;  // of each level, before downsampling
  for (const EncoderLevel& level : encoder_) {
    const Tensor entering = tokens;
    tokens = run_blocks(level.blocks, tokens, time, prepared, pass);
    outputs.push_back(tokens);
    if (level.downsample) tokens = (*level.downsample)(tokens + entering, time);
  }
  return outputs;
}

Tensor Scot::decode(const std::vector<Tensor>& skips, const Tensor& time, const Prepared& prepared, const Pass& pass,
                    std::vector<Tensor>* hidden) const {
  Tensor tokens = skips.back();
  if (hidden != nullptr) hidden->push_back(tokens);
  for (std::size_t i = 0; i < decoder_.size(); ++i) {
    const std::size_t level = decoder_.size() - 1 - i;
    if (i > 0) tokens = tokens + skips[level];
    tokens = run_blocks(decoder_[i].blocks, tokens, time, prepared, pass);
    if (decoder_[i].upsample) tokens = (*decoder_[i].upsample)(tokens, time, skips[level - 1].size(1), skips[level - 1].size(2));
    if (hidden != nullptr) hidden->push_back(tokens);
  }
  return tokens;
}

Tensor Scot::call(const Fields& fields, const Prepared& prepared, const Pass& pass, std::vector<Tensor>* hidden) const {
  check(fields);
  const std::int64_t points = fields.input.size(2);
  Tensor input = cast(fields.input, pass.precision);
  const Tensor time = config_.use_conditioning ? cast(fields.time, pass.precision) : Tensor{};
  if (points != config_.image_size) input = spectral_resample(input, config_.image_size, config_.image_size);

  const Tensor embedded = embed(input, time, pass);
  const std::vector<Tensor> encoded = encode(embedded, time, prepared, pass);
  std::vector<Tensor> skips = encoded;
  for (std::size_t level = 0; level < skips.size(); ++level) {
    for (const ResidualBlock& block : residual_blocks_[level]) skips[level] = block(skips[level], time, pass);
  }
  Tensor output = recovery_(decode(skips, time, prepared, pass, hidden));
  if (hidden != nullptr) {
    hidden->push_back(embedded);
    hidden->insert(hidden->end(), encoded.begin(), encoded.end());
  }

  if (config_.learn_residual) {
    output = output + slice(input, 1, 0, std::min(config_.num_channels, config_.num_out_channels));
  }
  if (points != config_.image_size) output = spectral_resample(output, points, points);
  if (fields.pixel_mask.defined()) {
    const Tensor& mask = fields.pixel_mask;
    const Tensor broadcast = mask.rank() == 2 ? reshape(mask, {mask.size(0), mask.size(1), 1, 1}) : mask;
    output = where(broadcast, cast(fields.label, pass.precision), output);
  }
  return output;
}

LossDescription Scot::loss() const {
  LossDescription description{.p = config_.p, .groups = {}};
  if (config_.channel_slice_list_normalized_loss) {
    const std::vector<int>& slices = *config_.channel_slice_list_normalized_loss;
    for (std::size_t i = 0; i + 1 < slices.size(); ++i) description.groups.push_back({slices[i], slices[i + 1]});
  }
  return description;
}

std::vector<std::int64_t> Scot::output_extents(const std::vector<std::int64_t>& extents) const {
  if (extents.size() == 2 && extents[0] == extents[1] && extents[0] >= 2) return extents;
  std::string points;
  for (const std::int64_t extent : extents) points += concat(points.empty() ? "" : "x", extent);
  throw ShapeError(concat("scot: the fields have ", points, " points; they must be square, with 2 points per side or more"));
}

double Scot::forward_flops(std::int64_t batch, const std::vector<std::int64_t>&) const {
  const ScotConfig& c = config_;
  const auto pixels = static_cast<double>(c.image_size) * c.image_size;
  double flops = 2.0 * pixels * c.embed_dim * (c.num_channels + c.num_out_channels) + 2.0 * pixels * 25.0 * c.num_out_channels * c.num_out_channels;
  std::int64_t side = c.grid();
  for (int level = 0; level < c.num_levels(); ++level, side = (side + 1) / 2) {
    const auto tokens = static_cast<double>(side * side), d = static_cast<double>(c.width(level));
    const auto block_flops = [&](const ScotBlock& block) {
      flops += block.attention.flops(side, side) + 4.0 * tokens * d * static_cast<double>(c.mlp_width(level));
    };
    std::ranges::for_each(encoder_[static_cast<std::size_t>(level)].blocks, block_flops);
    std::ranges::for_each(decoder_[static_cast<std::size_t>(c.num_levels() - 1 - level)].blocks, block_flops);
    for (const ResidualBlock& block : residual_blocks_[static_cast<std::size_t>(level)]) flops += block.flops(side * side);
    if (level > 0) {
      flops += 2.0 * tokens * (2.0 * d) * d;              // merging into this level: 4 (d/2) -> d
      flops += 2.0 * tokens * (2.0 * d * d + d * d);      // unmerging out of it: d -> 2 d, then 4 tokens of d/2 -> d/2
    }
  }
  return flops * static_cast<double>(batch);
}

}  // namespace trident
