// Kept modes are few, so an axis is transformed as a product with matrices of cosines and sines (fourier_axis.h): it computes what is kept
// and nothing else, places every frequency where it belongs on any grid, takes parts of grids, and runs at the speed of a matrix product.
// A whole axis of few points is faster by radix 2 (fourier_radix2.h).
//
// As many fields as a vector has lanes go together, side by side: however few points and modes there are, no lane idles, and adding and
// subtracting mirrored entries needs no exchange of lanes. Complex numbers are two vectors, of real and of imaginary parts.
#include "runtime/kernels/fourier.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "runtime/device/allocator.h"
#include "runtime/kernels/fourier_axis.h"
#include "runtime/kernels/fourier_lanes.h"
#include "runtime/kernels/fourier_product.h"
#include "runtime/kernels/fourier_radix2.h"
#include "runtime/kernels/on_threads.h"

namespace trident {
namespace {

using cpu::AxisMatrices;
using cpu::Columns;
using cpu::Direction;
using cpu::kLanes;
using cpu::Points;

// Of points that are laid side by side at a time: a group before and after a step lies in the first level of the cache beside them.
constexpr std::int64_t kChunkBytes = 1 << 12;
constexpr std::int64_t kRowsTogether = 2;  // at least, as products take two

/// The transform of groups of fields over one axis, or over two.
template <class T>
class Groups {
 public:
  Groups(const FourierTransform& transform, Direction direction)
      : direction_(direction), real_(transform.real), order_(transform.order), sum_(transform.sum) {
    plan_axes(transform);
    const std::int64_t numbers = real_ ? 1 : 2, kept = to_modes() ? last_.out : last_.in, points = to_modes() ? last_.in : last_.out;
    field_in_ = first_.in * (to_modes() ? numbers * points : 2 * kept);
    field_out_ = first_.out * (to_modes() ? 2 * kept : numbers * points);
    row_points_ = points * L;
    const std::int64_t fitting = kChunkBytes / static_cast<std::int64_t>(sizeof(T)) / std::max<std::int64_t>(1, row_points_);
    chunk_rows_ = std::min(std::max(fitting, kRowsTogether), std::max<std::int64_t>(1, rows_of_points()));
    chunk_ = real_ ? chunk_rows_ * row_points_ : 0;
    buffer_ = std::max(first_.in, first_.out) * (real_ ? kept : std::max(kept, points)) * 2 * L;
  }

  void run(std::int64_t count, const T* x, T* y, const FieldBias<T>& bias) const {
    const std::int64_t tasks = (count + L - 1) / L, scratch = 2 * buffer_ + chunk_;
    const bool worth = tasks > 1 && count * (field_in_ + field_out_) > 1 << 15;
    share_out_prepared(tasks, worth ? omp_get_max_threads() : 1, [&] {
      Block block(static_cast<std::size_t>(scratch) * sizeof(T), Device{});
      return [&, block = std::move(block)](std::int64_t first_task, std::int64_t last_task) {
        T* here = static_cast<T*>(block.data());
        Scratch work{.here = here, .there = here + buffer_, .chunk = here + 2 * buffer_};
        for (std::int64_t task = first_task; task < last_task; ++task) {
          const std::int64_t begin = task * L, fields = std::min(L, count - begin);
          const std::int64_t step = order_ == ModeOrder::first ? 2 * count : modes_step(), first = order_ == ModeOrder::first ? 2 : step;
          if (to_modes()) {
            fields_to_modes({x + begin * field_in_, field_in_, fields}, {y + begin * first, step, fields}, work);
          } else {
            modes_to_fields({x + begin * first, step, fields}, {y + begin * field_out_, field_out_, fields}, work, begin, bias);
          }
        }
      };
    });
  }

 private:
  static constexpr std::int64_t L = kLanes<T>;

  /// An axis; `matrices` is null where it is left as it is.
  struct Step {
    std::int64_t in = 1, out = 1;
    const AxisMatrices<T>* matrices = nullptr;
    std::int64_t mode_zero = 0;  // its place
  };
  /// Memory of one thread: a group's numbers before and after a step, and rows of points.
  struct Scratch {
    T *here, *there, *chunk;
  };

  bool to_modes() const { return direction_ == Direction::to_modes; }
  std::int64_t modes_step() const { return to_modes() ? field_out_ : field_in_; }
  std::int64_t rows_of_points() const { return to_modes() ? first_.in : first_.out; }

  /// The scale goes into the last axis that is transformed.
  void plan_axes(const FourierTransform& transform) {
    double scale = transform.scale;
    const auto planned = [&](const FourierAxis& axis, bool last) {
      if (axis.period == 0) return Step{axis.points, axis.points, nullptr};
      const auto& matrices = cpu::axis_matrices<T>({axis, direction_, last && real_, transform.conjugates, std::exchange(scale, 1.0)});
      return to_modes() ? Step{axis.points, axis.modes, &matrices} : Step{axis.modes, axis.points, &matrices, -axis.first_mode};
    };
    last_ = planned(transform.axes.back(), true);
    if (transform.axes.size() == 2) first_ = planned(transform.axes.front(), false);
  }

  void fields_to_modes(const cpu::Fields<const T>& x, const cpu::Fields<T>& modes, Scratch& work) const {
    const std::int64_t row_in = last_.in, row_out = last_.out * 2 * L;
    if (real_ && last_.matrices->radix2) {
      const auto& axis = *last_.matrices->radix2;
      cpu::with_points(axis, [&](auto points) { cpu::rows_to_modes<points>(axis, first_.in, x, work.here, row_out); });
    } else if (real_) {
      for (std::int64_t row = 0; row < first_.in; row += chunk_rows_) {
        const std::int64_t rows = std::min(chunk_rows_, first_.in - row);
        cpu::to_lanes<T>(rows * row_in, {x.data + row * row_in, x.step, x.count}, work.chunk);
        cpu::through_axis<Direction::to_modes, Points::real, T>(*last_.matrices, rows, {work.chunk, row_points_, L},
                                                                {work.here + row * row_out, row_out, 2 * L});
      }
    } else {
      cpu::to_lanes<T>(field_in_, x, work.here);
      through_last(work);
    }
    through_first(work);
    order_ == ModeOrder::first ? cpu::modes_from_lanes<T>(field_out_ / 2, work.here, modes)
                               : cpu::from_lanes<T>(field_out_, work.here, modes);
  }

  void modes_to_fields(const cpu::Fields<const T>& modes, const cpu::Fields<T>& x, Scratch& work, std::int64_t begin,
                       const FieldBias<T>& bias) const {
    order_ == ModeOrder::first ? cpu::modes_to_lanes<T>(field_in_ / 2, modes, work.here) : cpu::to_lanes<T>(field_in_, modes, work.here);
    if (bias.numbers != nullptr) {
      T* const mean = work.here + (first_.mode_zero * last_.in + last_.mode_zero) * 2 * L;
      for (std::int64_t lane = 0; lane < x.count; ++lane) mean[lane] += bias.numbers[(begin + lane) % bias.channels];
    }
    through_first(work);
    if (!real_) {
      through_last(work);
      return cpu::from_lanes<T>(field_out_, work.here, x, sum_);
    }
    const std::int64_t row_in = last_.in * 2 * L, row_out = last_.out;
    if (last_.matrices->radix2) {
      const auto& axis = *last_.matrices->radix2;
      return cpu::with_points(axis, [&](auto points) { cpu::rows_to_points<points>(axis, first_.out, work.here, row_in, x, sum_); });
    }
    for (std::int64_t row = 0; row < first_.out; row += chunk_rows_) {
      const std::int64_t rows = std::min(chunk_rows_, first_.out - row);
      cpu::through_axis<Direction::to_field, Points::real, T>(*last_.matrices, rows, {work.here + row * row_in, row_in, 2 * L},
                                                              {work.chunk, row_points_, L});
      cpu::from_lanes<T>(rows * row_out, work.chunk, {x.data + row * row_out, x.step, x.count}, sum_);
    }
  }

  /// The first axis of `here`, if it is transformed: columns lie side by side. The result is `here` again.
  void through_first(Scratch& work) const {
    const std::int64_t inner = to_modes() ? last_.out : last_.in;
    const bool in_place = first_.matrices != nullptr && first_.matrices->radix2;  // and so in the first level of the cache
    through(first_, inner, {work.here, 2 * L, inner * 2 * L}, {in_place ? work.here : work.there, 2 * L, inner * 2 * L}, work);
  }
  /// The last one of complex numbers: columns are rows.
  void through_last(Scratch& work) const {
    through(last_, rows_of_points(), {work.here, last_.in * 2 * L, 2 * L}, {work.there, last_.out * 2 * L, 2 * L}, work);
  }
  void through(const Step& step, std::int64_t count, const Columns<const T>& from, const Columns<T>& to, Scratch& work) const {
    if (step.matrices == nullptr) return;
    if (step.matrices->radix2) {
      const auto& axis = *step.matrices->radix2;
      cpu::with_points(axis, [&](auto points) {
        to_modes() ? cpu::columns_to_modes<points>(axis, count, from, to) : cpu::columns_to_points<points>(axis, count, from, to);
      });
    } else if (to_modes()) {
      cpu::through_axis<Direction::to_modes, Points::complex, T>(*step.matrices, count, from, to);
    } else {
      cpu::through_axis<Direction::to_field, Points::complex, T>(*step.matrices, count, from, to);
    }
    if (to.data != work.here) std::swap(work.here, work.there);
  }

  Direction direction_;
  bool real_;  // the field is
  ModeOrder order_;
  Sum sum_;                                       // of fields that come out
  Step first_, last_;                             // a field of one axis has no first step
  std::int64_t field_in_ = 0, field_out_ = 0;     // numbers of a field
  std::int64_t row_points_ = 0, chunk_rows_ = 0;  // numbers of a row of points in all lanes; rows that are laid out together
  std::int64_t buffer_ = 0, chunk_ = 0;           // numbers of a group, and of those rows
};

/// Entries of an axis on the side of the modes.
std::int64_t modes_of(const FourierAxis& axis) { return axis.period == 0 ? axis.points : axis.modes; }

template <class T>
void run(const FourierTransform& transform, Direction direction, const T* x, T* y, const FieldBias<T>& bias = {});

/// Over more than two axes: the first one by itself, last on the way to the modes, and the others as if there were more fields.
template <class T>
void run_apart(const FourierTransform& transform, Direction direction, const T* x, T* y) {
  const FourierAxis& first = transform.axes.front();
  FourierTransform inner = transform, outer = transform;
  inner.axes.erase(inner.axes.begin());
  inner.count *= first.points;
  std::int64_t modes = 1;
  for (const FourierAxis& axis : inner.axes) modes *= modes_of(axis);
  outer.axes = {first, {.period = 0, .points = modes}};
  outer.real = false;
  inner.order = ModeOrder::last;
  outer.scale = 1.0;
  outer.sum = Sum::replaces;
  const Block between(static_cast<std::size_t>(2 * inner.count * modes) * sizeof(T), Device{});
  T* middle = static_cast<T*>(between.data());
  if (direction == Direction::to_modes) {
    run(inner, direction, x, middle);
    run<T>(outer, direction, middle, y);
  } else {
    run(outer, direction, x, middle);
    run<T>(inner, direction, middle, y);
  }
}

template <class T>
void run(const FourierTransform& transform, Direction direction, const T* x, T* y, const FieldBias<T>& bias) {
  const bool to_modes = direction == Direction::to_modes;
  std::int64_t entries_in = transform.count, entries_out = transform.count;
  bool sums_nothing = false;
  for (const FourierAxis& axis : transform.axes) {
    const std::int64_t in = to_modes ? axis.points : modes_of(axis), out = to_modes ? modes_of(axis) : axis.points;
    entries_in *= in, entries_out *= out;
    sums_nothing = sums_nothing || (axis.period != 0 && in == 0);
  }
  if (entries_out == 0) return;
  if (sums_nothing) {
    if (transform.sum == Sum::replaces) std::fill_n(y, entries_out * (!to_modes && transform.real ? 1 : 2), T(0));
    return;
  }
  if (entries_in == 0) return;
  if (transform.axes.size() > 2) return run_apart(transform, direction, x, y);
  Groups<T>(transform, direction).run(transform.count, x, y, bias);
}

}  // namespace

template <class T>
void fourier_modes(Cpu, const FourierTransform& transform, const T* x, T* modes) {
  run(transform, Direction::to_modes, x, modes);
}

template <class T>
void fourier_field(Cpu, const FourierTransform& transform, const T* modes, T* x, const FieldBias<T>& bias) {
  run(transform, Direction::to_field, modes, x, bias);
}

template void fourier_modes(Cpu, const FourierTransform&, const float*, float*);
template void fourier_modes(Cpu, const FourierTransform&, const double*, double*);
template void fourier_field(Cpu, const FourierTransform&, const float*, float*, const FieldBias<float>&);
template void fourier_field(Cpu, const FourierTransform&, const double*, double*, const FieldBias<double>&);

}  // namespace trident
