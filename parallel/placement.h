/// Which rank stands where in a mesh: ranks of one host side by side, whatever order the launcher started them in, so that the fast axes of
/// the mesh stay inside a host.
#pragma once

#include <memory>
#include <vector>

#include "parallel/session.h"

namespace trident {

/// The place of each rank when hosts follow each other, and on each the ranks in their order. `hosts`: a number that is the same for ranks
/// of the same host.
std::vector<int> places_by_host(const std::vector<int>& hosts);

/// All ranks of the job, those of a host side by side: the job's own communicator if they are already. Collective.
std::shared_ptr<Communicator> ranks_by_host(const Session& session);

}  // namespace trident
