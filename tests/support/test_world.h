/// The ranks that a test program runs on: 1 without mpirun, else as many as add_mpi_test asked for.
#pragma once

#include <memory>

#include "parallel/communicator.h"

namespace trident::testing {

const std::shared_ptr<Communicator>& world();

}  // namespace trident::testing
