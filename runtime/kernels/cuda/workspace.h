/// Memory that a kernel's launch needs for itself. It may be given back right after the launch: the allocator follows the stream.
#pragma once

#include "runtime/device/allocator.h"
#include "runtime/kernels/dispatch.h"

namespace trident::cuda {

inline Block workspace(Cuda device, std::size_t bytes) { return Block(bytes, Device{Device::Kind::cuda, device.index}); }

}  // namespace trident::cuda
