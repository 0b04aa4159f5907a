#include "parallel/optimizer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>
#include <map>
#include <type_traits>
#include <utility>

#include "parallel/collectives.h"
#include "runtime/autograd/tape.h"
#include "runtime/error.h"
#include "runtime/ops/elementwise.h"
#include "runtime/ops/reduce.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"

namespace trident {
namespace {

// Elements of one thread's work: small enough to balance, large enough to forget the loop around it.
constexpr std::int64_t kBlock = 1 << 14;
constexpr std::int64_t kAligned = 16;  // a piece's second moments begin at a multiple of so many numbers

/// Where a range has its first moments, its second ones, and how many numbers share one of these.
struct MomentPlaces {
  std::int64_t first = 0, second = 0, sharing = 1;
};

void append_blocks(std::vector<FlatBlock>& blocks, Range range, int group, Numbers numbers, const MomentPlaces& places) {
  for (std::int64_t begin = range.first; begin < range.last; begin += kBlock) {
    const std::int64_t offset = begin - range.first;
    blocks.push_back({begin, std::min(begin + kBlock, range.last), places.first + offset, group, numbers == Numbers::complex ? 1 : 0,
                      places.second + offset / places.sharing});
  }
}

/// A structure, or an array of them, as a tensor of its words on a device.
template <class Word, class Value>
Tensor words_of(std::span<const Value> values, Device device) {
  static_assert(sizeof(Value) % sizeof(Word) == 0 && std::is_trivially_copyable_v<Value>);
  std::vector<Word> words(values.size_bytes() / sizeof(Word));
  if (!words.empty()) std::memcpy(words.data(), values.data(), values.size_bytes());
  const Tensor result = empty({static_cast<std::int64_t>(words.size())}, dtype_of<Word>, device);
  copy_into(result, from_values<Word>(result.shape(), words));
  return result;
}

FlatBlocks blocks_in(const Tensor& words) {
  return {reinterpret_cast<const FlatBlock*>(words.bytes()), words.num_bytes() / static_cast<std::int64_t>(sizeof(FlatBlock))};
}

/// The blocks of a bucket, in the same order on every rank. They end where shares end, whether ranks have shares or not.
std::vector<FlatBlock> blocks_of(const ParameterList& parameters, const FlatBucket& bucket) {
  std::vector<FlatBlock> blocks;
  for (std::size_t entry = bucket.first_entry; entry < bucket.last_entry; ++entry) {
    for (const NamedPiece& piece : parameters.entries()[entry].pieces) {
      for (std::size_t rank = 0; piece.trainable && rank + 1 < bucket.cuts.size(); ++rank) {
        append_blocks(blocks, {std::max(piece.offset, bucket.cuts[rank]), std::min(piece.offset + piece.size, bucket.cuts[rank + 1])}, 0,
                      piece.piece.numbers, {});
      }
    }
  }
  return blocks;
}

/// Those of `axes` that have ranks: buckets that differ in others are summed alike.
AxisSet axes_with_ranks(const Mesh& mesh, AxisSet axes) {
  for (const Axis axis : {Axis::data, Axis::domain_y, Axis::domain_x, Axis::tensor}) {
    if (mesh.size(axis) == 1) axes = axes.without(axis);
  }
  return axes;
}

Tensor summed_over_ranks(const Mesh& mesh, AxisSet axes, const Tensor& x) {
  if (mesh.size(axes) > 1) sum_in_place(mesh, axes, x);
  return x;
}

}  // namespace

GlobalNorm::GlobalNorm(const ParameterList& parameters, const FlatShares& shares)
    : mesh_(shares.mesh()), gradients_(parameters.gradients()) {
  std::map<std::uint8_t, std::pair<Squares, std::vector<FlatBlock>>> sets;
  for (const FlatBucket& bucket : shares.buckets()) {
    const AxisSet axes = axes_with_ranks(mesh_, bucket.axes);
    auto& [squares, own] = sets[axes.bits()];
    squares.replicated = axes;
    squares.shared_out = shares.is_shared_out(bucket);
    const Range range = shares.own(bucket);
    for (FlatBlock block : blocks_of(parameters, bucket)) {
      block.place = squares.count++;
      if (block.begin >= range.first && block.end <= range.last) own.push_back(block);
    }
  }
  for (auto& [bits, set] : sets) {
    set.first.blocks = words_of<std::int64_t>(std::span<const FlatBlock>(set.second), gradients_.device());
    sets_.push_back(set.first);
  }
}

Tensor GlobalNorm::total_of(const Squares& squares) const {
  const Tensor sums = (squares.shared_out ? zeros : empty)({squares.count}, DType::f64, gradients_.device());
  launch("global_norm", gradients_, [&](auto device, auto type) {
    sums_of_squares(device, blocks_in(squares.blocks), gradients_.data<decltype(type)>(), sums.data<double>());
  });
  // Each block has a number of one rank and zeros of the others: nothing is rounded.
  const Tensor all = squares.shared_out ? summed_over_ranks(mesh_, squares.replicated, sums) : sums;
  return summed_over_ranks(mesh_, AxisSet::all().without(squares.replicated), sum(all));
}

Tensor GlobalNorm::operator()() const {
  const Recording off(false);
  Tensor total;
  for (const Squares& squares : sets_) total = total.defined() ? total + total_of(squares) : total_of(squares);
  return view::reshape(power(total.defined() ? total : zeros({}, DType::f64, gradients_.device()), 0.5), {1});
}

AdamW::AdamW(const ParameterList& parameters, const AdamWOptions& options, std::vector<double> weight_decays,
             const std::function<int(const std::string& name)>& group_of, const std::optional<FlatShares>& shares)
    : options_(options),
      shares_(shares ? *shares : FlatShares(parameters, Mesh())),
      weight_decays_(std::move(weight_decays)),
      gradients_(parameters.gradients()) {
  if (weight_decays_.size() > AdamWStep::kMostGroups)
    throw ConfigError(concat("adamw: ", weight_decays_.size(), " groups; it takes ", AdamWStep::kMostGroups));
  values_ = view::slice(parameters.values(), 0, 0, gradients_.numel());
  if (parameters.rounded().defined()) rounded_ = view::slice(parameters.rounded(), 0, 0, gradients_.numel());
  std::int64_t size = 0;
  std::map<std::int64_t, std::int64_t> moments_of;  // place of a share's moments, by its begin
  for (const FlatBucket& bucket : shares_.buckets()) {
    const Range own = shares_.own(bucket);
    moments_of[own.first] = size;
    size += own.size();
  }
  first_ = zeros({size}, gradients_.dtype(), gradients_.device());
  std::int64_t second_size = 0;
  std::vector<FlatBlock> blocks;
  for (const NamedPiece& piece : parameters.pieces()) {
    if (!piece.trainable) continue;
    const int group = group_of(piece.name);
    if (group < 0 || group >= static_cast<int>(weight_decays_.size())) {
      throw ConfigError(concat("adamw: \"", piece.name, "\" is in group ", group, " of ", weight_decays_.size()));
    }
    NamedPiece part = shares_.own_part(piece);
    const Range range{part.offset, part.offset + part.size};
    if (part.size == 0) {
      part.offset = 0;  // its place may lie past this rank's moments
    } else {
      const auto& [begin, place] = *std::prev(moments_of.upper_bound(part.offset));
      part.offset += place - begin;
    }
    NamedPiece second = part;
    const std::int64_t sharing = options.rule == AdamWRule::neuralop && piece.piece.numbers == Numbers::complex ? 2 : 1;
    if (sharing == 2) second.piece.numbers = Numbers::real, second.size /= 2;
    second.offset = second_size;
    second_size += (second.size + kAligned - 1) / kAligned * kAligned;
    append_blocks(blocks, range, group, piece.piece.numbers, {part.offset, second.offset, sharing});
    first_moments_.push_back(std::move(part));
    second_moments_.push_back(std::move(second));
  }
  second_ = zeros({second_size}, gradients_.dtype(), gradients_.device());
  // Memory order, so that a thread's share is contiguous.
  std::sort(blocks.begin(), blocks.end(), [](const FlatBlock& a, const FlatBlock& b) { return a.begin < b.begin; });
  blocks_ = words_of<std::int64_t>(std::span<const FlatBlock>(blocks), gradients_.device());
  numbers_ = SentNumbers({sizeof(AdamWStep) / sizeof(double)}, DType::f64, gradients_.device());
}

void AdamW::prepare(std::int64_t step, std::span<const double> learning_rates) {
  if (learning_rates.size() != weight_decays_.size()) {
    throw Error(concat("adamw: ", learning_rates.size(), " learning rates for ", weight_decays_.size(), " groups"));
  }
  const auto correction = [&](double beta) { return options_.correct_bias ? 1.0 - std::pow(beta, static_cast<double>(step)) : 1.0; };
  AdamWStep numbers{.beta1 = options_.beta1,
                    .beta2 = options_.beta2,
                    .eps = options_.eps,
                    .max_norm = options_.max_grad_norm,
                    .correction1 = correction(options_.beta1),
                    .correction2 = correction(options_.beta2),
                    .groups = {}};
  for (std::size_t group = 0; group < weight_decays_.size(); ++group)
    numbers.groups[group] = {learning_rates[group], weight_decays_[group]};
  numbers_.send(std::as_bytes(std::span(&numbers, 1)));
}

void AdamW::apply(const Tensor& norm) {
  launch("adamw", values_, [&](auto device, auto type) {
    using T = decltype(type);
    const AdamWBuffers<T> buffers{values_.data<T>(), gradients_.data<T>(), first_.data<T>(), second_.data<T>(),
                                  rounded_.defined() ? rounded_.data<bf16>() : nullptr};
    const auto* shared = reinterpret_cast<const AdamWStep*>(numbers_.tensor().data<double>());
    if (options_.rule == AdamWRule::neuralop) {
      neuralop_adamw(device, shared, blocks_in(blocks_), norm.data<double>(), buffers);
    } else {
      adamw(device, shared, blocks_in(blocks_), norm.data<double>(), buffers);
    }
  });
  gather_values();
}

void AdamW::gather_values() const {
  const Mesh& mesh = shares_.mesh();
  mesh.stream().synchronize();
  for (const FlatBucket& bucket : shares_.buckets()) {
    if (!shares_.is_shared_out(bucket)) continue;
    const Range own = shares_.own(bucket);
    const auto whole = [&](const Tensor& flat) { return view::slice(flat, 0, bucket.begin(), bucket.end()); };
    mesh.comm(bucket.axes).all_gather(view::slice(values_, 0, own.first, own.last), whole(values_), bucket.counts());
    if (rounded_.defined()) copy_into(whole(rounded_), whole(values_));
  }
}

std::vector<NamedPiece> AdamW::state() const {
  std::vector<NamedPiece> state;
  const auto add = [&](const char* suffix, const std::vector<NamedPiece>& pieces, const Tensor& moments) {
    for (const NamedPiece& piece : pieces) {
      NamedPiece& moment = state.emplace_back(piece);
      moment.name += suffix;
      moment.value = piece.in(moments);
      moment.gradient = {};
    }
  };
  add(".exp_avg", first_moments_, first_);
  add(".exp_avg_sq", second_moments_, second_);
  return state;
}

}  // namespace trident
