#include "launch/physical_units.h"

#include "runtime/error.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

/// Means, then deviations.
std::vector<double> constants_of(const std::vector<Channel>& channels) {
  std::vector<double> constants;
  for (const Channel& channel : channels) constants.push_back(channel.mean + channel.shift);
  for (const Channel& channel : channels) constants.push_back(channel.std);
  return constants;
}

}  // namespace

PhysicalUnits::PhysicalUnits(const Dataset& dataset, std::vector<Channel> Problem::*channels, int dims, DType dtype, Device device) {
  if (dataset.is_complex()) {
    throw ConfigError(concat("data: the fields of \"", dataset.problem().name,
                             "\" are complex, whose losses and errors are of normalised numbers; set ",
                             "training.loss_units and evaluation.units to normalized"));
  }
  const std::vector<double> constants = constants_of(dataset.problem().*channels);
  for (const DatasetMember& member : dataset.members()) {
    if (constants_of(member.problem.*channels) == constants) continue;
    throw ConfigError(concat("data: \"", dataset.problem().name, "\" and \"", member.problem.name,
                             "\" are normalised by different constants, so a batch has no physical units; set training.loss_units and "
                             "evaluation.units to normalized"));
  }
  const std::size_t count = constants.size() / 2;
  Shape shape{1, static_cast<std::int64_t>(count)};
  for (int dim = 0; dim < dims; ++dim) shape.push_back(1);
  const auto broadcastable = [&](std::size_t first) {
    const Tensor result = empty(shape, dtype, device);
    copy_into(result, from_values<double>(shape, std::span(constants).subspan(first, count)));
    return result;
  };
  constants_ = UnitGaussian(broadcastable(0), broadcastable(count), 0.0);
}

}  // namespace trident
