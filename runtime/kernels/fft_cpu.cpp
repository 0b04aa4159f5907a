#include <fftw3.h>

#include <algorithm>
#include <array>
#include <complex>
#include <map>
#include <mutex>

#include "runtime/device/allocator.h"
#include "runtime/kernels/fft.h"

namespace trident {
namespace {

/// The same calls for both number types.
template <class T>
struct Fftw;
template <>
struct Fftw<float> {
  using Plan = fftwf_plan;
  using Number = fftwf_complex;
  static constexpr auto plan = fftwf_plan_dft_2d;
  static constexpr auto execute = fftwf_execute_dft;
};
template <>
struct Fftw<double> {
  using Plan = fftw_plan;
  using Number = fftw_complex;
  static constexpr auto plan = fftw_plan_dft_2d;
  static constexpr auto execute = fftw_execute_dft;
};

/// Complex numbers on a grid, aligned as all blocks are, so that a plan made for one grid serves all of its size.
template <class T>
class Grid {
 public:
  Grid(std::int64_t rows, std::int64_t columns)
      : columns_(columns), block_(static_cast<std::size_t>(rows * columns) * sizeof(std::complex<T>), Device{}) {}
  std::complex<T>* row(std::int64_t index) const { return static_cast<std::complex<T>*>(block_.data()) + index * columns_; }
  typename Fftw<T>::Number* numbers() const { return static_cast<typename Fftw<T>::Number*>(block_.data()); }

 private:
  std::int64_t columns_;
  Block block_;
};

/// The transform in place of grids of this size. Planning is not thread-safe, executing is; plans live as long as the process.
template <class T>
typename Fftw<T>::Plan plan_of(std::int64_t rows, std::int64_t columns, int sign) {
  static std::mutex mutex;
  static auto& plans = *new std::map<std::array<std::int64_t, 3>, typename Fftw<T>::Plan>;
  const std::lock_guard lock(mutex);
  auto& plan = plans[{rows, columns, sign}];
  if (plan == nullptr) {
    const Grid<T> grid(rows, columns);
    // FFTW_ESTIMATE chooses the same algorithm every time.
    plan = Fftw<T>::plan(static_cast<int>(rows), static_cast<int>(columns), grid.numbers(), grid.numbers(), sign, FFTW_ESTIMATE);
    if (plan == nullptr) throw DeviceError(concat("fft: FFTW has no plan for ", rows, " x ", columns, " points"));
  }
  return plan;
}

/// The kept modes of `from` put into `to`, the others 0.
template <class T>
void move_modes(const Resampling& size, T scale, const Grid<T>& from, const Grid<T>& to) {
  const std::int64_t kept_rows = std::min(size.rows, size.new_rows), kept_columns = std::min(size.columns, size.new_columns);
  const std::int64_t low = (kept_columns + 1) / 2, high = kept_columns / 2;  // columns with k >= 0, and with k < 0
  for (std::int64_t row = 0; row < size.new_rows; ++row) std::fill_n(to.row(row), size.new_columns, std::complex<T>{});
  for (std::int64_t k = -(kept_rows / 2); k <= (kept_rows - 1) / 2; ++k) {
    const std::complex<T>* source = from.row(k < 0 ? k + size.rows : k);
    std::complex<T>* target = to.row(k < 0 ? k + size.new_rows : k);
    for (std::int64_t i = 0; i < low; ++i) target[i] = scale * source[i];
    for (std::int64_t i = 1; i <= high; ++i) target[size.new_columns - i] = scale * source[size.columns - i];
  }
}

}  // namespace

template <class T>
void spectral_resample(Cpu, const Resampling& size, T scale, const T* x, T* y) {
  const auto forward = plan_of<T>(size.rows, size.columns, FFTW_FORWARD);
  const auto backward = plan_of<T>(size.new_rows, size.new_columns, FFTW_BACKWARD);
#pragma omp parallel if (size.fields > 1)
  {
    const Grid<T> from(size.rows, size.columns), to(size.new_rows, size.new_columns);
#pragma omp for schedule(static)
    for (std::int64_t field = 0; field < size.fields; ++field) {
      std::copy_n(x + field * size.rows * size.columns, size.rows * size.columns, from.row(0));
      Fftw<T>::execute(forward, from.numbers(), from.numbers());
      move_modes(size, scale, from, to);
      Fftw<T>::execute(backward, to.numbers(), to.numbers());
      T* target = y + field * size.new_rows * size.new_columns;
      for (std::int64_t i = 0; i < size.new_rows * size.new_columns; ++i) target[i] = to.row(0)[i].real();
    }
  }
}

template void spectral_resample(Cpu, const Resampling&, float, const float*, float*);
template void spectral_resample(Cpu, const Resampling&, double, const double*, double*);

}  // namespace trident
