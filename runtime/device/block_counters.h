/// Numbers by which the blocks of a kernel find out which of them is the last (runtime/kernels/cuda/joint_sums.h).
#pragma once

#include <cstddef>

#include "runtime/device/device.h"

namespace trident {

/// At least `count` numbers of a GPU for blocks of a kernel to count each other with: 0 when the kernel starts, and it leaves them so.
/// Kernels that may run at the same time never share them: they belong to the current stream, whose kernels run one after another, or,
/// while a graph's memory is used, to that stream's part of the graph, which is launched again only behind itself. They live as long as
/// the stream or the graph.
unsigned* block_counters(Device device, std::size_t count);

}  // namespace trident
