#include "runtime/ops/contraction_order.h"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>

namespace trident {
namespace {

std::size_t place(char label) { return static_cast<std::size_t>(label - 'A'); }  // A-Z, and a-z behind them

/// Letters as bits: sets of them are looked at thousands of times.
class Letters {
 public:
  Letters(const std::vector<Operand>& operands, const std::string& result) : result_(bits(result)) {
    for (const Operand& x : operands) {
      of_operand_.push_back(bits(x.labels));
      // Without modes any order would look free.
      for (const char label : x.labels)
        extents_[place(label)] = static_cast<double>(std::max<std::int64_t>(1, x.tensor.size(static_cast<int>(x.labels.find(label)))));
    }
  }
  std::uint64_t of_operand(std::size_t i) const { return of_operand_[i]; }
  /// Those that the result or an operand outside of the set has.
  std::uint64_t needed_by_others(unsigned set) const {
    std::uint64_t needed = result_;
    for (std::size_t i = 0; i < of_operand_.size(); ++i) needed |= (set >> i & 1U) == 0 ? of_operand_[i] : 0;
    return needed;
  }
  double size(std::uint64_t letters) const {
    double product = 1.0;
    for (; letters != 0; letters &= letters - 1) product *= extents_[static_cast<std::size_t>(std::countr_zero(letters))];
    return product;
  }

 private:
  static std::uint64_t bits(const std::string& labels) {
    std::uint64_t letters = 0;
    for (const char label : labels) letters |= std::uint64_t{1} << place(label);
    return letters;
  }

  std::array<double, 64> extents_{};
  std::vector<std::uint64_t> of_operand_;
  std::uint64_t result_;
};

}  // namespace

ContractionOrder::ContractionOrder(const std::vector<Operand>& operands, const std::string& result) {
  const Letters letters(operands, result);
  const unsigned all = (1U << operands.size()) - 1;
  plans_.assign(all + 1, {std::numeric_limits<double>::infinity(), 0, 0});
  for (unsigned set = 1; set <= all; ++set) {
    Plan& plan = plans_[set];
    if (std::has_single_bit(set)) {
      plan = {0.0, 0, letters.of_operand(static_cast<std::size_t>(std::countr_zero(set)))};
      continue;
    }
    const std::uint64_t needed = letters.needed_by_others(set);
    for (unsigned first = (set - 1) & set; first > (set & ~first); first = (first - 1) & set) {
      const Plan &a = plans_[first], &b = plans_[set & ~first];
      const std::uint64_t together = a.letters | b.letters;
      const double cost = a.cost + b.cost + letters.size(together);
      if (cost < plan.cost && std::popcount(together & needed) <= Shape::kMaxRank) plan = {cost, first, together & needed};
    }
  }
}

bool ContractionOrder::keeps(unsigned set, char label) const { return (plans_[set].letters >> place(label) & 1U) != 0; }

}  // namespace trident
