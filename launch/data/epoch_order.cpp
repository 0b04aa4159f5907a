#include "launch/data/epoch_order.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "runtime/tensor/random.h"

namespace trident {
namespace {

/// Whole numbers that add up to `total` in the ratio of the weights: rounded down, then the largest remainders get one more.
std::vector<std::int64_t> shares(const std::vector<double>& weights, std::int64_t total) {
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  std::vector<std::int64_t> counts;
  std::vector<double> remainders;
  std::int64_t left = total;
  for (const double weight : weights) {
    const double exact = weight / sum * static_cast<double>(total);
    counts.push_back(std::min(left, static_cast<std::int64_t>(exact)));
    remainders.push_back(exact - std::floor(exact));
    left -= counts.back();
  }
  std::vector<std::size_t> order(weights.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return remainders[a] > remainders[b]; });
  for (std::size_t k = 0; left > 0; k = (k + 1) % order.size(), --left) ++counts[order[k]];
  return counts;
}

}  // namespace

EpochOrder::EpochOrder(const Dataset& dataset, bool shuffle, std::uint64_t seed)
    : size_(dataset.size()), shuffle_(shuffle), weighted_(dataset.members().front().weight.has_value()), seed_(seed) {
  if (!weighted_) return;
  std::vector<double> weights;
  for (const DatasetMember& member : dataset.members()) weights.push_back(*member.weight);
  const std::vector<std::int64_t> counts = shares(weights, size_);
  std::int64_t position = 0, sample = 0;
  for (std::size_t index = 0; index < counts.size(); ++index) {
    const std::int64_t size = dataset.members()[index].size();
    members_.push_back({position, sample, size});
    position += counts[index];
    sample += size;
  }
}

std::int64_t EpochOrder::sample(std::int64_t epoch, std::int64_t position) const {
  const RandomKey key = RandomKey(seed_).fold("sample order").fold(static_cast<std::uint64_t>(epoch));
  const auto permuted = [this](std::int64_t size, RandomKey with, std::int64_t at) {
    return shuffle_ ? static_cast<std::int64_t>(Permutation(static_cast<std::uint64_t>(size), with)(static_cast<std::uint64_t>(at))) : at;
  };
  const std::int64_t slot = permuted(size_, key, position);
  if (!weighted_) return slot;
  const auto after = std::upper_bound(members_.begin(), members_.end(), slot,
                                      [](std::int64_t value, const Member& member) { return value < member.first_position; });
  const Member& member = *(after - 1);
  const std::int64_t draw = slot - member.first_position;
  const RandomKey own = key.fold(static_cast<std::uint64_t>(after - members_.begin())).fold(static_cast<std::uint64_t>(draw / member.size));
  return member.first_sample + permuted(member.size, own, draw % member.size);
}

}  // namespace trident
