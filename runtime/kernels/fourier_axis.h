/// One axis of a Fourier transform as a product with matrices of cosines and sines, half the size that the definition has on either side.
///
/// cos and sin of 2 pi k n / N are the same, up to the sign of sin, for n and N - n, and for k and -k. So entries that go in are added in
/// pairs for the cosines, P = x[n] + x[N-n], and subtracted for the sines, M = x[n] - x[N-n]; with A = sum cos P and B = sum sin M the pair
/// of modes is X[k] = A - i B and X[-k] = A + i B. From modes to points it is the same with the roles exchanged and i for -i.
#pragma once

#include <vector>

#include "runtime/kernels/fourier.h"
#include "runtime/kernels/vector.h"

namespace trident::cpu {

enum class Direction { to_modes, to_field };

#ifdef __AVX512F__
inline constexpr int kTilePairs = 6;  // with two vectors each of cosine and of sine sums, and what goes in, 30 of 32 registers
#else
inline constexpr int kTilePairs = 2;  // 14 of 16
#endif

/// Places of two entries of an axis that mirror each other; minus -1: an entry alone.
struct Pair {
  std::int64_t plus = 0, minus = -1;
};

/// What the matrices depend on. `real`: the last axis of a real field, whose modes are not paired; the others ignore `conjugates`.
struct AxisKey {
  FourierAxis axis;
  Direction direction;
  bool real;
  Conjugates conjugates;
  double scale;
};

/// Tiles of entries that come out, as even as can be. Of each the factors of its entries, for every entry that goes in: cosines, and behind
/// them sines but for the entries that come first, whose sines are all 0. To modes sines are negative.
template <class T>
struct AxisMatrices {
  std::vector<Pair> in, out;
  std::int64_t in_even = 0;  // entries without sines
  const T* factors = nullptr;

  std::int64_t depth() const { return static_cast<std::int64_t>(in.size()); }
  std::int64_t width() const { return static_cast<std::int64_t>(out.size()); }
  std::int64_t tiles() const { return (width() + kTilePairs - 1) / kTilePairs; }
  std::int64_t begin_of(std::int64_t tile) const { return tile * width() / tiles(); }
  std::int64_t factors_of_one() const { return 2 * depth() - in_even; }
};

/// They live as long as the process. Points are paired where they are all of the grid, modes where both are kept.
template <class T>
const AxisMatrices<T>& axis_matrices(const AxisKey& key);

}  // namespace trident::cpu
