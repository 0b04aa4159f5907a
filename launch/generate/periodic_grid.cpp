#include "launch/generate/periodic_grid.h"

#include <fftw3.h>

#include <algorithm>
#include <mutex>

#include "launch/generate/fftw_planner.h"

namespace trident {
namespace {

struct FftwFree {
  void operator()(void* memory) const { fftw_free(memory); }
};

}  // namespace

struct PeriodicGrid::Plans {
  explicit Plans(int n) : columns(static_cast<std::size_t>(n / 2 + 1)) {
    const std::lock_guard lock(fftw_planner());
    real.reset(fftw_alloc_real(static_cast<std::size_t>(n) * static_cast<std::size_t>(n)));
    half.reset(fftw_alloc_complex(static_cast<std::size_t>(n) * columns));
    // FFTW_ESTIMATE chooses without timing, so the same numbers come out every time.
    backward = fftw_plan_dft_c2r_2d(n, n, half.get(), real.get(), FFTW_ESTIMATE);
    forward = fftw_plan_dft_r2c_2d(n, n, real.get(), half.get(), FFTW_ESTIMATE);
  }
  ~Plans() {
    const std::lock_guard lock(fftw_planner());
    fftw_destroy_plan(backward);
    fftw_destroy_plan(forward);
  }
  Complex* row(int kx, int n) const {
    return reinterpret_cast<Complex*>(half.get()) + static_cast<std::size_t>(kx < 0 ? kx + n : kx) * columns;
  }

  std::size_t columns;
  std::unique_ptr<double, FftwFree> real;
  std::unique_ptr<fftw_complex, FftwFree> half;
  fftw_plan backward = nullptr, forward = nullptr;
};

PeriodicGrid::PeriodicGrid(int n) : n_(n), largest_((n - 1) / 3), plans_(std::make_unique<Plans>(n)) {}
PeriodicGrid::~PeriodicGrid() = default;

void PeriodicGrid::to_points(const Complex* modes, double* field) {
  const std::size_t kept = static_cast<std::size_t>(largest_) + 1;
  std::fill_n(plans_->row(0, n_), static_cast<std::size_t>(n_) * plans_->columns, Complex());
  for (int kx = -largest_; kx <= largest_; ++kx) std::copy_n(modes + mode(kx, 0), kept, plans_->row(kx, n_));
  fftw_execute(plans_->backward);
  std::copy_n(plans_->real.get(), points(), field);
}

void PeriodicGrid::to_modes(const double* field, Complex* modes) {
  const double scale = 1.0 / static_cast<double>(points());
  std::copy_n(field, points(), plans_->real.get());
  fftw_execute(plans_->forward);
  for (int kx = -largest_; kx <= largest_; ++kx) {
    const Complex* from = plans_->row(kx, n_);
    Complex* to = modes + mode(kx, 0);
    for (int ky = 0; ky <= largest_; ++ky) to[ky] = from[ky] * scale;
  }
}

}  // namespace trident
