#include "models/scot/scot.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "models/layers/stochastic.h"
#include "parallel/collectives.h"
#include "parallel/exchange.h"
#include "runtime/autograd/tape.h"
#include "runtime/error.h"
#include "runtime/ops/elementwise.h"
#include "runtime/ops/fft.h"
#include "runtime/ops/shape.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"

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

/// The grids of tokens: each has half the rows and columns of the one above, rounded up.
std::vector<WindowedGrid> grids_of(const ScotConfig& c) {
  std::vector<WindowedGrid> grids;
  std::int64_t tokens = c.grid();
  for (int level = 0; level < c.num_levels(); ++level, tokens = (tokens + 1) / 2) {
    const WindowSettings windows = windows_of(c, level, true);
    grids.push_back({.rows = tokens,
                     .columns = tokens,
                     .window = std::max<std::int64_t>(1, windows.window),  // a level without blocks may be too small for windows
                     .shift = windows.shift,
                     .halo = c.residual_model == "resnet" ? ResNetBlock::kReach : ConvNextBlock::kReach});
  }
  return grids;
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
          .mlp = Mlp(width, hidden, own_columns(mesh, hidden, width, heads), c.activation(), c.initializer_range, mesh),
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

/// Of an odd number of points per side that a model is built for, the reference's resampling gives one fewer, unless it adds to an odd
/// number again; patches take zeros for it.
std::int64_t points_after_resampling(std::int64_t points, std::int64_t of_model) {
  return of_model % 2 == 1 && (points % 2 == 0 || points > of_model) ? of_model - 1 : of_model;
}

}  // namespace

CarriedSum ScotBlock::operator()(const CarriedSum& kept, const Tensor& whole, const TokenStream& stream, const ScotLevel& level,
                                 const Tensor& position_bias) const {
  const Pass own = level.pass.fold(number);
  const Tensor tokens = whole.defined() ? whole : stream.whole(kept.value);
  if (own.mode == Mode::eval && stream.is_whole()) {  // nothing stands between a branch's last product and its norm
    const CarriedSum attended = attention(tokens, *level.tokens, position_bias, own, norm_before.onto(kept, level.time));
    return mlp(attended.value, norm_after.onto(attended, level.time));
  }
  const auto factor = [&](const char* site) { return drop_path_factor(stream.samples(), drop_path, own, site, kept.value.device()); };
  const auto branch = [&](const Tensor& addend, double dropout, const char* site) {
    return drop_elements(stream.sum(addend), dropout, own, site, *level.tokens, stream.part());
  };
  const Tensor context = branch(attention(tokens, *level.tokens, position_bias, own), attention_dropout, "attention output");
  const CarriedSum attended = norm_before.add_to(kept, context, level.time, factor("drop path before"), stream.part());
  const Tensor hidden = branch(mlp(stream.whole(attended.value)), hidden_dropout, "mlp");
  return norm_after.add_to(attended, hidden, level.time, factor("drop path after"), stream.part());
}

Scot::Scot(ScotConfig config, ConfigValue document, const Mesh& mesh)
    : config_(std::move(config)),
      document_(std::move(document)),
      mesh_(mesh),
      pyramid_(Domain(mesh), grids_of(config_)),
      embeddings_(make_embeddings(config_)),
      recovery_(config_.embed_dim, config_.num_out_channels, config_.patch_size, config_.initializer_range, pyramid_.domain()) {
  const ScotConfig& c = config_;
  const int levels = c.num_levels();
  const auto depth = [&](int level) { return c.depths[static_cast<std::size_t>(level)]; };
  int number = 0;
  for (int level = 0; level < levels; ++level) {
    EncoderLevel& stage = encoder_.emplace_back();
    for (int block = 0; block < depth(level); ++block) stage.blocks.push_back(make_block(c, level, block % 2 == 1, number++, mesh));
    if (level + 1 < levels) stage.downsample = PatchMerging(c.width(level), conditioning(c), c.initializer_range, mesh);
  }
  for (int level = levels - 1; level >= 0; --level) {
    DecoderLevel& stage = decoder_.emplace_back();
    // Shifts alternate from the end: with an even depth the first block is shifted.
    for (int block = depth(level) - 1; block >= 0; --block) stage.blocks.push_back(make_block(c, level, block % 2 == 1, number++, mesh));
    if (level > 0) stage.upsample = PatchUnmerging(c.width(level), conditioning(c), c.initializer_range, mesh);
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
  std::map<std::int64_t, std::vector<const ScotBlock*>> blocks_of;  // by window
  std::size_t count = 0;
  for_each_block([&](const ScotBlock& block) {
    blocks_of[block.attention.windows().window].push_back(&block);
    ++count;
  });
  Prepared prepared(count);
  for (const auto& [window, blocks] : blocks_of) {
    const std::vector<Tensor> biases = biases_of(blocks, log_spaced_offsets(window, blocks.front()->attention.device()));
    for (std::size_t i = 0; i < blocks.size(); ++i) prepared[blocks[i]->number] = biases[i];
  }
  return prepared;
}

std::vector<Tensor> Scot::biases_of(const std::vector<const ScotBlock*>& blocks, const Tensor& offsets) const {
  const auto mlps = [&](Heads heads) {
    std::vector<PositionBiasMlp> result;
    for (const ScotBlock* block : blocks) result.push_back(block->attention.bias_mlp(heads));
    return result;
  };
  // Without gradients they are computed once, by each rank alone; so they are on a GPU, for which they are less work than an exchange.
  if (!Recording::is_on() || mesh_.world().size() == 1 || offsets.is_cuda()) return position_biases(offsets, mlps(Heads::own));
  // Each rank computes some offsets of all heads, because the hidden layer, most of the work, is the same for all heads.
  const std::vector<std::int64_t> counts = part_sizes(offsets.size(0), mesh_.world().size());
  const Range own = part_of(offsets.size(0), mesh_.world().size(), mesh_.world().rank());
  const std::vector<Tensor> parts = position_biases(view::slice(offsets, 0, own.first, own.last), mlps(Heads::all));
  const Tensor side_by_side = permute(concatenate(parts, 0), {1, 0});  // for one exchange
  const Tensor all = permute(all_gather(mesh_, AxisSet::all(), side_by_side, counts), {1, 0});
  std::vector<Tensor> biases;
  std::int64_t first = 0;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const Range heads = blocks[i]->attention.own_heads();
    biases.push_back(slice(all, 0, first + heads.first, first + heads.last));
    first += parts[i].size(0);
  }
  return biases;
}

Rectangle Scot::rectangle(std::int64_t ny, std::int64_t nx) const {
  if (ny != config_.image_size || nx != config_.image_size) return pyramid_.domain().rectangle(ny, nx);
  const auto points = [this](const Range& tokens) { return Range{tokens.first * config_.patch_size, tokens.last * config_.patch_size}; };
  const Rectangle tokens = pyramid_.rectangle();
  return {points(tokens.rows), points(tokens.columns)};
}

std::int64_t Scot::points_of(const Fields& fields) const {
  const Tensor& x = fields.input;
  const int ranks = pyramid_.domain().ranks();
  const auto require = [&](bool holds) {
    if (holds) return;
    throw ShapeError(concat("scot: input is ", x.defined() ? concat(name_of(x.dtype()), " ", to_string(x.shape())) : "missing",
                            "; expected floating numbers (batch, ", config_.num_channels, ", n, n): num_channels is ", config_.num_channels,
                            " and fields are square",
                            ranks > 1 ? concat(", of which each of ", ranks, " domain ranks holds its rectangle") : ""));
  };
  require(x.defined() && x.rank() == 4 && x.size(1) == config_.num_channels && is_floating(x.dtype()));
  std::int64_t ny = fields.ny, nx = fields.nx;
  if (ny == 0 && nx == 0) {
    const Tensor sums = from_values<std::int64_t>({2}, std::vector{x.size(2), x.size(3)});
    if (ranks > 1) sum_in_place(mesh_, Axis::domain_y | Axis::domain_x, sums);
    ny = sums.data<std::int64_t>()[0] / pyramid_.domain().ranks_x(), nx = sums.data<std::int64_t>()[1] / pyramid_.domain().ranks_y();
  }
  const Rectangle own = rectangle(ny, nx);
  require(ny == nx && x.size(2) == own.rows.size() && x.size(3) == own.columns.size());
  return ny;
}

void Scot::check(const Fields& fields) const {
  const Tensor& x = fields.input;
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

std::vector<GridBox> Scot::planes_in_parts(std::int64_t planes, std::int64_t points) const {
  if (points != config_.image_size) return pyramid_.domain().rectangles(planes, points, points);
  const auto in_points = [this](const Range& tokens) { return Range{tokens.first * config_.patch_size, tokens.last * config_.patch_size}; };
  std::vector<GridBox> boxes;
  for (const GridBox& box : pyramid_.levels(1)->front().owned) boxes.push_back({{0, planes}, in_points(box.rows), in_points(box.columns)});
  return boxes;
}

Tensor Scot::resampled(const Tensor& fields, std::int64_t points, std::int64_t new_points) const {
  if (points == new_points) return fields;
  // Resampling needs whole fields: each rank takes those of some samples and channels.
  const Domain& domain = pyramid_.domain();
  const std::int64_t batch = fields.size(0), channels = fields.size(1), planes = batch * channels;
  const ExchangePlan apart = domain.plan(planes_in_parts(planes, points), domain.planes(planes, points, points));
  const ExchangePlan together =
      domain.plan(planes_in_parts(planes, new_points), domain.planes(planes, new_points, new_points)).transposed();
  const Tensor whole = exchange(mesh_, apart, reshape(fields, {planes, fields.size(2), fields.size(3), 1}));
  const std::int64_t kept = new_points == config_.image_size ? points_after_resampling(points, new_points) : new_points;
  Tensor changed = spectral_resample(reshape(whole, {whole.size(0), points, points}), kept, kept);
  for (const int dim : {1, 2}) changed = pad(changed, dim, 0, new_points - kept);
  const Tensor parts = exchange(mesh_, together, reshape(changed, {whole.size(0), new_points, new_points, 1}));
  return reshape(parts, {batch, channels, parts.size(1), parts.size(2)});
}

std::vector<ScotLevel> Scot::levels_of(std::int64_t batch, const Tensor& time, const Pass& pass) const {
  const auto levels = pyramid_.levels(batch);
  std::vector<ScotLevel> result;
  for (const WindowLevel& level : *levels) {
    const Range& samples = level.own.samples;
    ScotLevel& own = result.emplace_back(ScotLevel{.tokens = {levels, &level}, .time = {}, .pass = pass});
    if (time.defined()) own.time = slice(time, 0, samples.first, samples.last);
    own.pass.first_sample += samples.first;
  }
  return result;
}

CarriedSum Scot::embed(const Tensor& input, const ScotLevel& level) const {
  Tensor tokens = embeddings_.norm(embeddings_.patches(input, level.pass.precision), level.time);
  if (embeddings_.position) {
    const Tensor grid = reshape(embeddings_.position->value, {1, config_.grid(), config_.grid(), config_.embed_dim});
    const GridBox& own = level.tokens->own;
    tokens = tokens + slice(slice(grid, 1, own.rows.first, own.rows.last), 2, own.columns.first, own.columns.last);
  }
  return carried(drop_elements(tokens, config_.hidden_dropout_prob, level.pass, "embeddings", *level.tokens), level.pass.precision);
}

Tensor Scot::run_blocks(const std::vector<ScotBlock>& blocks, const CarriedSum& tokens, const ScotLevel& level,
                        const Prepared& prepared) const {
  const TokenStream stream(mesh_, level.pass.tokens, tokens.value.shape());
  CarriedSum kept = stream.kept(tokens);
  Tensor whole = tokens.value;
  for (const ScotBlock& block : blocks) {
    const Tensor& position_bias = prepared[block.number];
    const auto rest = std::make_shared<Tensor>();  // beside what the tape knows
    const auto run = [&block, kept, whole, stream, level, position_bias, rest] {
      const CarriedSum sum = block(kept, whole, stream, level, position_bias);
      *rest = sum.rest;
      return sum.value;
    };
    const Tensor value = level.pass.recompute == Recompute::none ? run() : recompute(run);
    kept = {value, std::exchange(*rest, Tensor{})};
    whole = Tensor{};
  }
  return stream.whole(kept.value);
}

std::vector<Tensor> Scot::encode(CarriedSum tokens, const std::vector<ScotLevel>& levels, const Prepared& prepared) const {
  std::vector<Tensor> outputs;  // of each level, before downsampling
  for (std::size_t i = 0; i < encoder_.size(); ++i) {
    outputs.push_back(run_blocks(encoder_[i].blocks, tokens, levels[i], prepared));
    if (encoder_[i].downsample) {
      const Tensor both = outputs.back() + tokens.value;
      tokens = {(*encoder_[i].downsample)(both, *levels[i].tokens, *levels[i + 1].tokens, levels[i].time), {}};
    }
  }
  return outputs;
}

Tensor Scot::decode(const std::vector<Tensor>& skips, const std::vector<ScotLevel>& levels, const Prepared& prepared,
                    std::vector<Tensor>* hidden) const {
  Tensor tokens = skips.back();
  if (hidden != nullptr) hidden->push_back(tokens);
  for (std::size_t i = 0; i < decoder_.size(); ++i) {
    const std::size_t level = decoder_.size() - 1 - i;
    if (i > 0) tokens = tokens + skips[level];
    tokens = run_blocks(decoder_[i].blocks, {tokens, {}}, levels[level], prepared);
    if (decoder_[i].upsample) {
      tokens = (*decoder_[i].upsample)(tokens, *levels[level].tokens, *levels[level - 1].tokens, levels[level - 1].time);
    }
    if (hidden != nullptr) hidden->push_back(tokens);
  }
  return tokens;
}

Tensor Scot::masked(const Tensor& output, const Fields& fields) const {
  if (!fields.pixel_mask.defined()) return output;
  const Tensor& mask = fields.pixel_mask;
  const Tensor broadcast = mask.rank() == 2 ? reshape(mask, {mask.size(0), mask.size(1), 1, 1}) : mask;
  return where(broadcast, cast(fields.label, output.dtype()), output);
}

Tensor Scot::call(const Fields& fields, const Prepared& prepared, const Pass& pass, std::vector<Tensor>* hidden) const {
  const std::int64_t points = points_of(fields), batch = fields.input.size(0);
  check(fields);
  const DType outside = parameter_type(pass.precision);  // of fields, and of what norms are conditioned on
  const Tensor input = resampled(cast(fields.input, outside), points, config_.image_size);
  const Tensor time = config_.use_conditioning ? reshape(cast(fields.time, outside), {batch}) : Tensor{};
  const std::vector<ScotLevel> levels = levels_of(batch, time, pass);

  const CarriedSum embedded = embed(input, levels.front());
  const std::vector<Tensor> encoded = encode(embedded, levels, prepared);
  std::vector<Tensor> skips = encoded;
  for (std::size_t i = 0; i < skips.size(); ++i) {
    for (const ResidualBlock& block : residual_blocks_[i]) skips[i] = block(skips[i], *levels[i].tokens, levels[i].time, pass);
  }
  Tensor output = recovery_(cast(decode(skips, levels, prepared, hidden), outside), *levels.front().tokens);
  if (hidden != nullptr) {
    hidden->push_back(embedded.value);
    hidden->insert(hidden->end(), encoded.begin(), encoded.end());
  }
  if (config_.learn_residual) output = output + slice(input, 1, 0, std::min(config_.num_channels, config_.num_out_channels));
  return masked(resampled(output, config_.image_size, points), fields);
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
  double flops =
      2.0 * pixels * c.embed_dim * (c.num_channels + c.num_out_channels) + 2.0 * pixels * 25.0 * c.num_out_channels * c.num_out_channels;
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
      flops += 2.0 * tokens * (2.0 * d) * d;          // merging into this level: 4 (d/2) -> d
      flops += 2.0 * tokens * (2.0 * d * d + d * d);  // unmerging out of it: d -> 2 d, then 4 tokens of d/2 -> d/2
    }
  }
  return flops * static_cast<double>(batch);
}

}  // namespace trident
