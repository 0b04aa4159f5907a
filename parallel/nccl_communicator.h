/// Ranks that have a GPU each, connected by NCCL.
#pragma once

#include <exception>
#include <functional>
#include <memory>

#include "parallel/communicator.h"

namespace trident {

/// Device tensors go through NCCL on the caller's current stream; `host` carries host tensors and brings NCCL's ranks together, when the
/// first device tensor comes. What fails while it is under way is a CommunicationError to `on_failure`, on a thread of its own, which ends
/// the job.
using OnFailure = std::function<void(const std::exception& error)>;
std::unique_ptr<Communicator> make_nccl_communicator(std::shared_ptr<Communicator> host, Device device, const OnFailure& on_failure);

}  // namespace trident
