/// Diffusion with a varying coefficient on the unit square: -div(a grad u) = f, u = 0 on the boundary, in f64.
///
/// The unknowns lie at the points (i / n, j / n), 0 < i, j < n; the coefficient at all points 0 <= i, j <= n. Between neighbours stands the
/// harmonic mean of their coefficients, which keeps the flux continuous where a jumps: second order where a is smooth, first where it
/// jumps.
#pragma once

#include <cstddef>
#include <vector>

namespace trident {

class Diffusion {
 public:
  /// a: (n + 1) x (n + 1) row-major, above 0. Throws ShapeError, DataError.
  Diffusion(int n, const std::vector<double>& a);

  struct Result {
    int iterations = 0;
    double residual = 0.0;  // 2-norm over that of the right side
  };
  /// Conjugate gradients, preconditioned by one V-cycle of multigrid, until the residual is `tolerance` of the right side. f and u: (n + 1)
  /// x (n + 1); u is the result, zero on the boundary. Throws Error if it has not converged after 200 iterations.
  Result solve(const std::vector<double>& f, std::vector<double>& u, double tolerance) const;
  /// u -> -div(a grad u), as the 5-point formula has it; 0 on the boundary.
  void apply(const std::vector<double>& u, std::vector<double>& result) const;

 private:
  /// One grid: conductances between neighbours, and how its points lie between those of the next coarser one.
  struct Level {
    int n = 0;
    std::vector<double> down, right;  // of (i, j) to (i + 1, j) and (i, j + 1)
    std::vector<int> coarse;          // per index of one axis: the coarse point before it
    std::vector<double> weight;       // per index: share of the coarse point after it

    std::size_t at(int i, int j) const {
      return static_cast<std::size_t>(i) * static_cast<std::size_t>(n + 1) + static_cast<std::size_t>(j);
    }
    double diagonal(int i, int j) const;
    double neighbours(const std::vector<double>& u, int i, int j) const;
  };

  static Level level_of(int n, const std::vector<double>& a);
  void connect(Level& fine, int coarse_n) const;
  void smooth(const Level& level, const std::vector<double>& f, std::vector<double>& u, int first_color) const;
  void cycle(std::size_t depth, const std::vector<double>& f, std::vector<double>& u) const;

  std::vector<Level> levels_;
};

}  // namespace trident
