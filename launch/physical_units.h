/// Physical fields of the model's numbers, where a loss or an error is to be physical.
#pragma once

#include <optional>
#include <vector>

#include "launch/data/dataset.h"
#include "models/unit_gaussian.h"

namespace trident {

class PhysicalUnits {
 public:
  /// Leaves fields as they are.
  PhysicalUnits() = default;
  /// Of fields (batch, channel, `dims` axes of space) with the data's input or output channels. `device`: where they are. Throws
  /// ConfigError if several problems with different constants share the data.
  PhysicalUnits(const Dataset& dataset, std::vector<Channel> Problem::*channels, int dims, DType dtype, Device device = {});

  /// Differentiable.
  Tensor operator()(const Tensor& fields) const { return constants_ ? constants_->decode(fields) : fields; }

 private:
  std::optional<UnitGaussian> constants_;
};

}  // namespace trident
