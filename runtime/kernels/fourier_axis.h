/// One axis of a Fourier transform as a product with matrices of cosines and sines, a quarter of what the definition takes where the grid
/// is whole and even.
///
/// cos and sin of 2 pi k n / N are the same, up to the sign of sin, for n and N - n, and for k and -k. So entries that go in are added in
/// pairs for the cosines, P = x[n] + x[N-n], and subtracted for the sines, M = x[n] - x[N-n]; with A = sum cos P and B = sum sin M the pair
/// of modes is X[k] = A - i B and X[-k] = A + i B. From modes to points it is the same with the roles exchanged and i for -i.
/// From n to N/2 - n the cosine keeps its sign for even k and the sine changes it, for odd k the other way round: P[n] + P[N/2-n] and
/// M[n] - M[N/2-n] make the even modes, P[n] - P[N/2-n] and M[n] + M[N/2-n] the odd ones; and sums over even and over odd modes, apart,
/// make the points n and N - n added, N/2 - n and N/2 + n subtracted.
#pragma once

#include <optional>
#include <vector>

#include "runtime/kernels/fourier.h"
#include "runtime/kernels/vector.h"

namespace trident::cpu {

enum class Direction { to_modes, to_field };

enum class Parity { even, odd };

/// Entries of a tile: their sums, two vectors each with cosines and with sines, and from modes those of both parities. They and what goes
/// in fill 32 registers; 16 are too few for what the best sizes there take, which cost less than reading what goes in more often.
#ifdef __AVX512F__
inline constexpr int kTileModes = 6, kTilePoints = 3;
#else
inline constexpr int kTileModes = 3, kTilePoints = 2;
#endif

/// Places of modes k and -k; minus -1: a mode alone.
struct ModePair {
  std::int64_t plus = 0, minus = -1;
};
/// Places of points n, N - n, N/2 - n and N/2 + n; -1: there is none, or it is one of the others.
struct PointQuad {
  std::int64_t plus = 0, minus = -1, half_minus = -1, half_plus = -1;
};
/// Entries [first, last) of what comes out, and the parity of the modes among them.
struct Tile {
  std::int64_t first, last;
  Parity parity;
};

/// What the matrices depend on. `real`: the last axis of a real field, whose modes are not paired; the others ignore `conjugates`.
struct AxisKey {
  FourierAxis axis;
  Direction direction;
  bool real;
  Conjugates conjugates;
  double scale;
};

/// For an axis that goes by radix 2 (fourier_radix2.h): places of modes k and -k for k from 0 to half the points, -1 where they are not
/// kept. What goes in is multiplied by `scale`, and modes 0 and N/2, which stand for themselves alone, by `alone` too; complex columns have
/// neither.
template <class T>
struct Radix2 {
  std::vector<ModePair> places;
  T scale, alone;
};

/// `factors`: for every tile and entry that goes in the cosines of the tile's entries, and then their sines, negative on the way to modes.
template <class T>
struct AxisMatrices {
  std::vector<PointQuad> points;
  std::vector<ModePair> modes;  // even ones first
  std::int64_t even_modes = 0;
  std::vector<Tile> tiles;  // of modes on the way to them, of points on the way back
  const T* factors = nullptr;
  std::optional<Radix2<T>> radix2;  // in place of all others
};

/// They live as long as the process. Points are mirrored where they are all of the grid, modes where both are kept.
template <class T>
const AxisMatrices<T>& axis_matrices(const AxisKey& key);

}  // namespace trident::cpu
