/// In which order many tensors are multiplied together, two at a time.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/ops/contraction.h"

namespace trident {

/// Of all ways the one with the fewest multiplications, as opt_einsum's "optimal". Sets of tensors are bits.
class ContractionOrder {
 public:
  ContractionOrder(const std::vector<Operand>& operands, const std::string& result);

  /// Of complex numbers, by all products.
  double multiplications() const { return plans_.back().cost; }
  /// One half of the last product of the set; the rest is the other. 0: a single tensor.
  unsigned first(unsigned set) const { return plans_[set].first; }
  /// Whether the product of the set still has this letter.
  bool keeps(unsigned set, char label) const;

 private:
  /// The cheapest way to multiply the tensors of a set together; `letters` of its product.
  struct Plan {
    double cost;
    unsigned first;
    std::uint64_t letters;
  };
  std::vector<Plan> plans_;
};

}  // namespace trident
