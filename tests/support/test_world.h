/// The ranks that a test program runs on: 1 without mpirun, else as many as add_mpi_test asked for.
#pragma once

#include <memory>

#include "parallel/session.h"

namespace trident::testing {

const Session& session();
inline const std::shared_ptr<Communicator>& world() { return session().world(); }

}  // namespace trident::testing
