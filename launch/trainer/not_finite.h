/// Which tensors hold NaN or infinity, and on which rank.
#pragma once

#include <string>

#include "parallel/parameter.h"

namespace trident {

/// The first tensors of this rank that are not finite, weights before gradients: `weight "a.b", gradient of "c.d"`; empty if there is none.
std::string bad_tensors(const ParameterList& parameters, double loss);

/// The finding of the lowest rank that has one, as every rank says it: `rank 1: gradient of "c.d"`. Collective.
std::string agreed_culprit(Communicator& world, const std::string& bad_here);

}  // namespace trident
