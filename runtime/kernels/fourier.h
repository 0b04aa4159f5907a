/// Fourier modes of fields, and fields of modes: kept modes only, and parts of grids, with the sums that ranks add.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/kernels/dispatch.h"
#include "runtime/kernels/into.h"
#include "runtime/kernels/wide.h"

namespace trident {

/// One axis of a transform: a periodic grid of `period` points, of which those from first_point on are here, and the frequencies from
/// first_mode on (cycles per period, may be negative). period 0: the axis is left as it is, with `points` entries on both sides.
struct FourierAxis {
  std::int64_t period = 0;
  std::int64_t first_point = 0, points = 0;
  std::int64_t first_mode = 0, modes = 0;

  bool operator==(const FourierAxis&) const = default;
};

/// Whether a mode of the last axis of a real field stands for itself, or also for its conjugate at minus its frequency, which is not
/// stored: all but frequency 0 and, of an even period, the highest.
enum class Conjugates { ignored, counted };

/// How the modes of all fields lie: field by field, or mode by mode with the fields side by side, as products with matrices of channels
/// take them best.
enum class ModeOrder { last, first };

/// `count` fields over `axes`; the numbers of a real field have modes with two. Complex numbers are pairs of T. A real field may be bf16 on
/// a GPU: its modes are f32, and so is all that lies between.
struct FourierTransform {
  std::int64_t count = 0;
  std::vector<FourierAxis> axes;
  bool real = true;  // the field is; its last axis is transformed then
  Conjugates conjugates = Conjugates::ignored;
  double scale = 1.0;
  ModeOrder order = ModeOrder::last;  // `first`: on the CPU
  Sum sum = Sum::replaces;            // `adds`: to a field
};

/// X[k] = scale weight[k] sum over the points x[n] e^{-2 pi i k n / period}, axis by axis; weight: 2 for modes counted twice.
template <class T>
void fourier_modes(Cpu, const FourierTransform&, const T* x, T* modes);
template <class T>
void fourier_modes(Cuda, const FourierTransform&, const T* x, Wide<T>* modes);
/// What is added to all points of a field: field i takes the number i % channels. It goes in with mode 0.
template <class T>
struct FieldBias {
  const T* numbers = nullptr;  // null for none
  std::int64_t channels = 1;
};
/// x[n] = scale sum over the modes weight[k] X[k] e^{2 pi i k n / period}; the real part of it for a real field. A bias is for real fields
/// over one or two axes, both transformed with mode 0, unscaled.
template <class T>
void fourier_field(Cpu, const FourierTransform&, const T* modes, T* x, const FieldBias<T>& bias = {});
template <class T>
void fourier_field(Cuda, const FourierTransform&, const Wide<T>* modes, T* x);

}  // namespace trident
