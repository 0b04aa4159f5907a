/// One line of golden_check: a quantity, how far it is from the golden one, and how far it may be.
#pragma once

#include <string>
#include <vector>

namespace trident {

struct CheckRow {
  std::string quantity;
  double error = 0.0;  // relative, in the 2-norm; exact quantities: 0, or infinity if they differ
  double bound = 0.0;
  bool ok() const { return error <= bound; }
};

using CheckRows = std::vector<CheckRow>;

}  // namespace trident
