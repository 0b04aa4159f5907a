#include <cufft.h>

#include <array>
#include <map>
#include <mutex>
#include <string>

#include "runtime/device/launch_only.h"
#include "runtime/kernels/cuda/fourier_plan.h"
#include "runtime/kernels/cuda/kernel.h"
#include "runtime/kernels/cuda/workspace.h"

namespace trident::cuda {
namespace {

void require(cufftResult result, const char* call) {
  if (result != CUFFT_SUCCESS)
    throw DeviceError(concat("cuFFT: ", call, " failed with code ", static_cast<int>(result), "; is the GPU's memory full?"));
}

/// A plan for fields, rows, columns, on a device. Its work area comes from our allocator at every call, so that plans hold no memory.
struct Plan {
  bool is_made = false;  // any number may be a handle
  cufftHandle handle = 0;
  std::size_t work_bytes = 0;
};

template <class T>
constexpr cufftType kType = sizeof(T) == 4 ? CUFFT_C2C : CUFFT_Z2Z;

template <class T>
Plan make_plan(std::int64_t fields, std::int64_t rows, std::int64_t columns) {
  require_waiting_allowed("fft: cuFFT's plan");
  Plan plan;
  require(cufftCreate(&plan.handle), "cufftCreate");
  require(cufftSetAutoAllocation(plan.handle, 0), "cufftSetAutoAllocation");
  std::array<long long, 2> extents{rows, columns};
  require(cufftMakePlanMany64(plan.handle, 2, extents.data(), nullptr, 1, rows * columns, nullptr, 1, rows * columns, kType<T>, fields,
                              &plan.work_bytes),
          "cufftMakePlanMany64");
  plan.is_made = true;
  return plan;
}

cufftResult execute(cufftHandle plan, float* grids, int sign) {
  auto* numbers = reinterpret_cast<cufftComplex*>(grids);
  return cufftExecC2C(plan, numbers, numbers, sign);
}
cufftResult execute(cufftHandle plan, double* grids, int sign) {
  auto* numbers = reinterpret_cast<cufftDoubleComplex*>(grids);
  return cufftExecZ2Z(plan, numbers, numbers, sign);
}

}  // namespace

template <class T>
void fast_fourier_transform(Cuda cuda, std::int64_t fields, std::int64_t rows, std::int64_t columns, FourierSign sign, T* grids) {
  if (fields * rows * columns == 0) return;
  static std::mutex mutex;  // also over the call: a plan's stream and work area are its state
  static auto& plans = *new std::map<std::array<std::int64_t, 4>, Plan>;
  const std::lock_guard lock(mutex);
  Plan& plan = plans[{fields, rows, columns, workspace(cuda, 0).device().index}];
  if (!plan.is_made) plan = make_plan<T>(fields, rows, columns);
  const Block work = workspace(cuda, plan.work_bytes);
  require(cufftSetStream(plan.handle, static_cast<cudaStream_t>(cuda.stream)), "cufftSetStream");
  require(cufftSetWorkArea(plan.handle, work.data()), "cufftSetWorkArea");
  require(execute(plan.handle, grids, sign == FourierSign::forward ? CUFFT_FORWARD : CUFFT_INVERSE), "cufftExec");
}

template void fast_fourier_transform(Cuda, std::int64_t, std::int64_t, std::int64_t, FourierSign, float*);
template void fast_fourier_transform(Cuda, std::int64_t, std::int64_t, std::int64_t, FourierSign, double*);

}  // namespace trident::cuda
