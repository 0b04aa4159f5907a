/// Ranks whose MPI takes addresses of GPUs: device tensors go from one device to the other without a copy on the host.
#pragma once

#include <memory>

#include "parallel/communicator.h"

namespace trident {

/// `host` carries host tensors, as before, and is given the addresses of those on `device` as if they were the host's. A call ends when the
/// device is done with it.
std::unique_ptr<Communicator> make_cuda_aware_communicator(std::shared_ptr<Communicator> host, Device device);

}  // namespace trident
