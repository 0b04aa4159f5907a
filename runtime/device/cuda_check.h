/// Errors of CUDA's runtime as ours. For .cu files and the files of runtime/device that wrap CUDA.
#pragma once

#include <cuda_runtime.h>

#include <source_location>

#include "runtime/error.h"

namespace trident {

/// Throws DeviceError naming the call and the place if `status` is an error; the next launch is not blamed for it.
inline void check_cuda(const char* call, cudaError_t status, std::source_location where = std::source_location::current()) {
  if (status == cudaSuccess) return;
  cudaGetLastError();
  throw DeviceError(concat(call, " in ", where.file_name(), ":", where.line(), ": ", cudaGetErrorString(status)));
}

}  // namespace trident
