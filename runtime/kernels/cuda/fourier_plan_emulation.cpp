// The fast Fourier transform of the emulated device: FFTW's.
#include <fftw3.h>

#include <type_traits>

#include "runtime/device/emulated_memory.h"
#include "runtime/device/emulated_streams.h"
#include "runtime/kernels/cuda/fourier_plan.h"

namespace trident::cuda {
namespace {

template <class T>
void transform_here(std::int64_t fields, std::int64_t rows, std::int64_t columns, FourierSign sign, T* grids) {
  const emulation::OpenMemory open;
  const int direction = sign == FourierSign::forward ? FFTW_FORWARD : FFTW_BACKWARD;
  for (std::int64_t field = 0; field < fields; ++field) {
    T* grid = grids + 2 * field * rows * columns;
    const auto transform = [&](auto make_plan, auto execute, auto destroy, auto* numbers) {
      const auto plan =
          make_plan(static_cast<int>(rows), static_cast<int>(columns), numbers, numbers, direction, FFTW_ESTIMATE | FFTW_UNALIGNED);
      execute(plan);
      destroy(plan);
    };
    if constexpr (std::is_same_v<T, float>) {
      transform(fftwf_plan_dft_2d, fftwf_execute, fftwf_destroy_plan, reinterpret_cast<fftwf_complex*>(grid));
    } else {
      transform(fftw_plan_dft_2d, fftw_execute, fftw_destroy_plan, reinterpret_cast<fftw_complex*>(grid));
    }
  }
}

}  // namespace

template <class T>
void fast_fourier_transform(Cuda device, std::int64_t fields, std::int64_t rows, std::int64_t columns, FourierSign sign, T* grids) {
  emulation::submit(device.stream, concat("transforms of ", fields, " fields of ", rows, " x ", columns),
                    [=] { transform_here(fields, rows, columns, sign, grids); });
}

template void fast_fourier_transform(Cuda, std::int64_t, std::int64_t, std::int64_t, FourierSign, float*);
template void fast_fourier_transform(Cuda, std::int64_t, std::int64_t, std::int64_t, FourierSign, double*);

}  // namespace trident::cuda
