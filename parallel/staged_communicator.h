/// Ranks whose device tensors travel through host memory: several ranks on one GPU, builds without NCCL, the emulated device.
#pragma once

#include <memory>

#include "parallel/communicator.h"

namespace trident {

/// `host` carries host tensors, as before, and copies of tensors on `device`; a call has put them back when it returns.
std::unique_ptr<Communicator> make_staged_communicator(std::shared_ptr<Communicator> host, Device device);

}  // namespace trident
