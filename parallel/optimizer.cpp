#include "parallel/optimizer.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <utility>

#include "runtime/error.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"

namespace trident {
namespace {

// Elements of one thread's work: small enough to balance, large enough to forget the loop around it.
constexpr std::int64_t kBlock = 1 << 14;

/// `moments`: place of the range's moments.
void append_blocks(std::vector<FlatBlock>& blocks, Range range, int group, std::int64_t moments, Numbers numbers) {
  for (std::int64_t begin = range.first; begin < range.last; begin += kBlock) {
    blocks.push_back(
        {begin, std::min(begin + kBlock, range.last), group, moments + begin - range.first, numbers == Numbers::complex});
  }
}

/// The blocks of what some axes replicate: all of them in the same order on every rank, and which of them this rank adds up.
struct Squares {
  AxisSet replicated;
  std::vector<FlatBlock> own;
  std::vector<std::size_t> places;  // of own blocks among all
  std::size_t count = 0;
  bool shared_out = false;
};

/// Blocks end where shares end, whether ranks have shares or not.
void append(Squares& squares, const ParameterList& parameters, const FlatShares& shares, const FlatBucket& bucket) {
  const Range own = shares.own(bucket);
  std::vector<FlatBlock> blocks;
  for (std::size_t entry = bucket.first_entry; entry < bucket.last_entry; ++entry) {
    for (const NamedPiece& piece : parameters.entries()[entry].pieces) {
      for (std::size_t rank = 0; piece.trainable && rank + 1 < bucket.cuts.size(); ++rank) {
        append_blocks(blocks, {std::max(piece.offset, bucket.cuts[rank]), std::min(piece.offset + piece.size, bucket.cuts[rank + 1])}, 0, 0,
                      piece.piece.numbers);
      }
    }
  }
  for (const FlatBlock& block : blocks) {
    if (block.begin >= own.first && block.end <= own.last) {
      squares.own.push_back(block);
      squares.places.push_back(squares.count);
    }
    ++squares.count;
  }
}

double sum_over_ranks(const Mesh& mesh, AxisSet axes, double here) {
  if (mesh.size(axes) == 1) return here;
  const Tensor sum = from_values<double>({1}, std::vector{here});
  mesh.stream().enqueue([sum, &comm = mesh.comm(axes)] { comm.all_reduce(sum, ReduceOp::sum); });
  mesh.stream().synchronize();
  return *sum.data<double>();
}

double total_of(const Squares& squares, const Tensor& gradients, const Mesh& mesh) {
  std::vector<double> sums(squares.own.size());
  launch("global_norm", gradients, [&](auto device, auto type) {
    sums_of_squares(device, std::span<const FlatBlock>(squares.own), gradients.data<decltype(type)>(), sums.data());
  });
  const Tensor all = zeros({static_cast<std::int64_t>(squares.count)}, DType::f64);
  for (std::size_t i = 0; i < sums.size(); ++i) all.data<double>()[squares.places[i]] = sums[i];
  if (squares.shared_out) {  // each block has a number of one rank and zeros of the others: nothing is rounded
    mesh.stream().enqueue([all, &comm = mesh.comm(squares.replicated)] { comm.all_reduce(all, ReduceOp::sum); });
    mesh.stream().synchronize();
  }
  double total = 0.0;
  for (const double part : to_host<double>(all)) total += part;
  return sum_over_ranks(mesh, AxisSet::all().without(squares.replicated), total);
}

}  // namespace

Tensor global_norm(const ParameterList& parameters, const FlatShares& shares) {
  std::map<std::uint8_t, Squares> sets;
  for (const FlatBucket& bucket : shares.buckets()) {
    Squares& squares = sets[bucket.axes.bits()];
    squares.replicated = bucket.axes;
    squares.shared_out = shares.is_shared_out(bucket);
    append(squares, parameters, shares, bucket);
  }
  double total = 0.0;
  for (const auto& [bits, squares] : sets) total += total_of(squares, parameters.gradients(), shares.mesh());
  return from_values<double>({1}, std::vector{std::sqrt(total)});
}

AdamW::AdamW(const ParameterList& parameters, const AdamWOptions& options, std::vector<double> weight_decays,
             const std::function<int(const std::string& name)>& group_of, const std::optional<FlatShares>& shares)
    : options_(options), shares_(shares ? *shares : FlatShares(parameters, Mesh())), gradients_(parameters.gradients()) {
  for (const double decay : weight_decays) groups_.push_back({.learning_rate = 0.0, .weight_decay = decay});
  values_ = view::slice(parameters.values(), 0, 0, gradients_.numel());
  std::int64_t size = 0;
  std::map<std::int64_t, std::int64_t> moments_of;  // place of a share's moments, by its begin
  for (const FlatBucket& bucket : shares_.buckets()) {
    const Range own = shares_.own(bucket);
    moments_of[own.first] = size;
    size += own.size();
  }
  first_ = zeros({size}, gradients_.dtype(), gradients_.device());
  second_ = zeros_like(first_);
  for (const NamedPiece& piece : parameters.pieces()) {
    if (!piece.trainable) continue;
    const int group = group_of(piece.name);
    if (group < 0 || group >= static_cast<int>(groups_.size())) {
      throw ConfigError(concat("adamw: \"", piece.name, "\" is in group ", group, " of ", groups_.size()));
    }
    NamedPiece part = shares_.own_part(piece);
    const Range range{part.offset, part.offset + part.size};
    if (part.size > 0) {
      const auto& [begin, place] = *std::prev(moments_of.upper_bound(part.offset));
      part.offset += place - begin;
    }
    append_blocks(blocks_, range, group, part.offset, piece.piece.numbers);
    moments_.push_back(std::move(part));
  }
  // Memory order, so that a thread's share is contiguous.
  std::sort(blocks_.begin(), blocks_.end(), [](const FlatBlock& a, const FlatBlock& b) { return a.begin < b.begin; });
}

void AdamW::update(std::int64_t step, std::span<const double> learning_rates, const Tensor& norm) {
  if (learning_rates.size() != groups_.size()) {
    throw Error(concat("adamw: ", learning_rates.size(), " learning rates for ", groups_.size(), " groups"));
  }
  for (std::size_t group = 0; group < groups_.size(); ++group) groups_[group].learning_rate = learning_rates[group];
  const AdamWStep numbers{.beta1 = options_.beta1,
                          .beta2 = options_.beta2,
                          .eps = options_.eps,
                          .max_norm = options_.max_grad_norm,
                          .correction1 = 1.0 - std::pow(options_.beta1, static_cast<double>(step)),
                          .correction2 = 1.0 - std::pow(options_.beta2, static_cast<double>(step))};
  launch("adamw", values_, [&](auto device, auto type) {
    using T = decltype(type);
    const auto update = [&](auto... arguments) {
      return options_.rule == AdamWRule::neuralop ? neuralop_adamw(arguments...) : adamw(arguments...);
    };
    update(device, numbers, std::span<const AdamWGroup>(groups_), std::span<const FlatBlock>(blocks_), norm.data<double>(),
          values_.data<T>(), gradients_.data<T>(), first_.data<T>(), second_.data<T>());
  });
  gather_values();
}

void AdamW::gather_values() const {
  for (const FlatBucket& bucket : shares_.buckets()) {
    if (!shares_.is_shared_out(bucket)) continue;
    const Range own = shares_.own(bucket);
    shares_.mesh().stream().enqueue([target = view::slice(values_, 0, bucket.begin(), bucket.end()),
                                     source = view::slice(values_, 0, own.first, own.last), counts = bucket.counts(),
                                     &comm = shares_.mesh().comm(bucket.axes)] { comm.all_gather(source, target, counts); });
  }
  shares_.mesh().stream().synchronize();
}

std::vector<NamedPiece> AdamW::state() const {
  std::vector<NamedPiece> state;
  for (const auto& [suffix, moments] : {std::pair{".exp_avg", first_}, std::pair{".exp_avg_sq", second_}}) {
    for (const NamedPiece& piece : moments_) {
      NamedPiece& moment = state.emplace_back(piece);
      moment.name += suffix;
      moment.value = piece.size > 0 ? piece.in(moments) : view::slice(moments, 0, 0, 0);
      moment.gradient = {};
    }
  }
  return state;
}

}  // namespace trident
