/// Normalisation by statistics of the training samples, as neuraloperator's UnitGaussianNormalizer has them per channel.
#pragma once

#include <vector>

#include "launch/data/dataset.h"
#include "parallel/communicator.h"

namespace trident {

/// Checks the entry alone: data of the user's own, without constants. Throws ConfigError.
void check_fitted(const DataEntry& entry);

/// Sets `mean` and `std` of the problem's channels: the mean over all points of all samples, and the root of the unbiased variance, plus
/// 1e-7. The same bits for every number of ranks, which share out the reading. Collective over `world`.
Problem fitted_problem(const Dataset& dataset, Communicator& world);

/// The same samples by the constants of `problem`, channel by channel. Throws ConfigError if it has other numbers of channels.
Dataset normalized_as(const Dataset& dataset, const Problem& problem);
/// And as entries of a run file that needs no fitting.
void give_constants(DataConfig& config, const Problem& problem);

}  // namespace trident
