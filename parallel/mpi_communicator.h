/// Ranks connected by MPI. Private to session.cpp: everyone else holds a Communicator.
#pragma once

#include <memory>

#include "parallel/communicator.h"

namespace trident::mpi {

std::unique_ptr<Communicator> world();
std::unique_ptr<Communicator> ranks_of_this_host();

}  // namespace trident::mpi
