#include "parallel/optimizer.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "runtime/error.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"

namespace trident {
namespace {

// Elements of one thread's work: small enough to balance, large enough to forget the loop around it.
constexpr std::int64_t kBlock = 1 << 14;

void append_blocks(std::vector<FlatBlock>& blocks, const NamedPiece& piece, int group) {
  const std::int64_t end = piece.offset + piece.size;
  for (std::int64_t begin = piece.offset; begin < end; begin += kBlock) blocks.push_back({begin, std::min(begin + kBlock, end), group});
}

}  // namespace

Tensor global_norm(const ParameterList& parameters, const Mesh& mesh) {
  if (!parameters.gradients().defined()) throw Error("global_norm: the parameters were made for inference and have no gradients");
  std::map<std::uint8_t, std::pair<AxisSet, std::vector<FlatBlock>>> sets;  // by the axes that hold different parts
  for (const auto& entry : parameters.entries()) {
    const AxisSet split = AxisSet::all().without(entry.replicated);
    auto& [axes, blocks] = sets[split.bits()];
    axes = split;
    for (const NamedPiece& piece : entry.pieces) {
      if (piece.trainable) append_blocks(blocks, piece, 0);
    }
  }
  double total = 0.0;
  for (const auto& [bits, set] : sets) {
    const auto& [axes, blocks] = set;
    const Tensor sum = empty({1}, DType::f64);
    launch("global_norm", parameters.gradients(), [&](auto device, auto type) {
      sum_of_squares(device, blocks, parameters.gradients().data<decltype(type)>(), sum.data<double>());
    });
    if (mesh.size(axes) > 1) {
      mesh.stream().enqueue([sum, &comm = mesh.comm(axes)] { comm.all_reduce(sum, ReduceOp::sum); });
      mesh.stream().synchronize();
    }
    total += *sum.data<double>();
  }
  return from_values<double>({1}, std::vector{std::sqrt(total)});
}

AdamW::AdamW(const ParameterList& parameters, const AdamWOptions& options, std::vector<double> weight_decays,
             const std::function<int(const std::string& name)>& group_of)
    : options_(options), gradients_(parameters.gradients()) {
  if (!gradients_.defined()) throw Error("adamw: the parameters were made for inference and have no gradients");
  for (const double decay : weight_decays) groups_.push_back({.learning_rate = 0.0, .weight_decay = decay});
  values_ = view::slice(parameters.values(), 0, 0, gradients_.numel());
  first_ = zeros_like(gradients_);
  second_ = zeros_like(gradients_);
  for (const NamedPiece& piece : parameters.pieces()) {
    if (!piece.trainable) continue;
    const int group = group_of(piece.name);
    if (group < 0 || group >= static_cast<int>(groups_.size())) {
      throw ConfigError(concat("adamw: \"", piece.name, "\" is in group ", group, " of ", groups_.size()));
    }
    append_blocks(blocks_, piece, group);
    pieces_.push_back(piece);
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
    adamw(device, numbers, std::span<const AdamWGroup>(groups_), std::span<const FlatBlock>(blocks_), norm.data<double>(),
          values_.data<T>(), gradients_.data<T>(), first_.data<T>(), second_.data<T>());
  });
}

std::vector<NamedPiece> AdamW::state() const {
  std::vector<NamedPiece> state;
  for (const auto& [suffix, moments] : {std::pair{".exp_avg", first_}, std::pair{".exp_avg_sq", second_}}) {
    for (const NamedPiece& piece : pieces_) {
      NamedPiece moment = piece;
      moment.name += suffix;
      moment.value = piece.in(moments);
      moment.gradient = {};
      state.push_back(std::move(moment));
    }
  }
  return state;
}

}  // namespace trident
