/// Real fields on the periodic unit square and their Fourier coefficients, in f64.
///
/// A field has n x n points x = i / n, y = j / n, stored (i, j); x is the first axis. Coefficients belong to exp(2 pi i (kx x + ky y)):
/// |kx| <= K and 0 <= ky <= K with K = the largest number below n / 3, so products of two fields are computed exactly (2/3 rule); the rest
/// of the half plane follows because fields are real. They are stored (kx + K, ky).
#pragma once

#include <complex>
#include <cstddef>
#include <memory>

namespace trident {

using Complex = std::complex<double>;

class PeriodicGrid {
 public:
  explicit PeriodicGrid(int n);
  ~PeriodicGrid();
  PeriodicGrid(const PeriodicGrid&) = delete;
  PeriodicGrid& operator=(const PeriodicGrid&) = delete;

  int n() const { return n_; }
  int largest() const { return largest_; }  // K
  std::size_t points() const { return static_cast<std::size_t>(n_) * static_cast<std::size_t>(n_); }
  std::size_t modes() const { return static_cast<std::size_t>(2 * largest_ + 1) * static_cast<std::size_t>(largest_ + 1); }
  std::size_t mode(int kx, int ky) const {
    return static_cast<std::size_t>(kx + largest_) * static_cast<std::size_t>(largest_ + 1) + static_cast<std::size_t>(ky);
  }

  /// The field of the coefficients; their mirror images are added.
  void to_points(const Complex* modes, double* field);
  /// The coefficients of a field; those above K are dropped.
  void to_modes(const double* field, Complex* modes);

 private:
  struct Plans;

  int n_, largest_;
  std::unique_ptr<Plans> plans_;
};

/// Calls body(kx, ky, index) for every coefficient of `grid`.
template <class Body>
void for_each_mode(const PeriodicGrid& grid, Body body) {
  std::size_t index = 0;
  for (int kx = -grid.largest(); kx <= grid.largest(); ++kx) {
    for (int ky = 0; ky <= grid.largest(); ++ky) body(kx, ky, index++);
  }
}

}  // namespace trident
