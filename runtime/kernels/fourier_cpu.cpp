// Kept modes are few, so an axis is transformed as a product with matrices of cosines and sines (fourier_axis.h): it computes what is kept
// and nothing else, places every frequency where it belongs on any grid, takes parts of grids, and runs at the speed of a matrix product.
//
// Between axes a row of complex numbers is all real parts and then all imaginary ones: vectors then need no exchange of lanes. Rows have
// room behind them for a whole vector, so that vectors may be written past the end of a part before what follows it is.
#include "runtime/kernels/fourier.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "runtime/device/allocator.h"
#include "runtime/kernels/fourier_axis.h"
#include "runtime/kernels/fourier_rows.h"

namespace trident {
namespace {

using cpu::AxisMatrices;
using cpu::Direction;
using cpu::kLanes;
using cpu::kTileRows;
using cpu::round_up;

constexpr std::int64_t kGroupRows = 64;    // rows of the last axis that share a product
constexpr std::int64_t kPanelWidth = 128;  // numbers that share a product over another axis, about

/// One axis other than the last: `matrices` is null where it is left as it is.
template <class T>
struct Step {
  std::int64_t in = 0, out = 0;
  const AxisMatrices<T>* matrices = nullptr;
};

/// Memory of one thread.
template <class T>
struct Scratch {
  std::int64_t fields = 0, folded = 0, products = 0;  // numbers of each of the two buffers of fields, and of what follows them
  std::int64_t size() const { return 2 * fields + folded + products; }
};

/// The transform of groups of fields through two buffers, from one to the other and back.
template <class T>
class Groups {
 public:
  Groups(const FourierTransform& transform, Direction direction) : direction_(direction), numbers_(transform.real ? 1 : 2) {
    plan_axes(transform);
    const std::int64_t rows = std::max<std::int64_t>(1, to_modes() ? rows_in_ : rows_out_);
    group_ = std::clamp<std::int64_t>((kGroupRows + rows - 1) / rows, 1, std::max<std::int64_t>(1, transform.count));
    row_step_ = kept_ + round_up(kept_, kLanes<T>);
    std::int64_t rows_most = 1;
    for (const Step<T>& step : steps_) {
      rows_most *= std::max(step.in, step.out);
      if (step.matrices == nullptr) continue;
      scratch_.folded = std::max(scratch_.folded, 2 * step.matrices->depth() * panel_step());
      scratch_.products = std::max(scratch_.products, 2 * step.matrices->width() * panel_step());
    }
    scratch_.fields = (group_ * rows_most + kTileRows) * row_step_ + kLanes<T>;
    if (last_ != nullptr) {
      scratch_.folded = std::max(scratch_.folded, 2 * numbers_ * kGroupRows * last_->depth() + kLanes<T>);
      scratch_.products = std::max(scratch_.products, 2 * numbers_ * kGroupRows * last_->step + kLanes<T>);
    }
  }

  void run(std::int64_t count, const T* x, T* y) const {
    const std::int64_t tasks = (count + group_ - 1) / group_;
    const std::int64_t in = rows_in_ * row_in_, out = rows_out_ * row_out_;
    if (out == 0) return;
#pragma omp parallel if (tasks > 1 && count * (in + out) > 1 << 15)
    {
      const Block block(static_cast<std::size_t>(scratch_.size()) * sizeof(T), Device{});
#pragma omp for schedule(static)
      for (std::int64_t task = 0; task < tasks; ++task) {
        const std::int64_t begin = task * group_, fields = std::min(group_, count - begin);
        const auto through = to_modes() ? &Groups::fields_to_modes : &Groups::modes_to_fields;
        (this->*through)(fields, x + begin * in, y + begin * out, static_cast<T*>(block.data()));
      }
    }
  }

 private:
  bool to_modes() const { return direction_ == Direction::to_modes; }
  std::int64_t panel_columns() const { return std::max<std::int64_t>(1, kPanelWidth / (2 * kept_)); }  // rows side by side
  std::int64_t panel_step() const { return round_up(panel_columns() * 2 * kept_, kLanes<T>) + kLanes<T>; }

  /// The scale goes into the first axis that is transformed.
  void plan_axes(const FourierTransform& transform) {
    double scale = transform.scale;
    const auto matrices_of = [&](const FourierAxis& axis, bool last) -> const AxisMatrices<T>* {
      if (axis.period == 0) return nullptr;
      const auto* matrices = &cpu::axis_matrices<T>({axis, direction_, last ? cpu::Side::right : cpu::Side::left, last && transform.real,
                                                     last ? transform.conjugates : Conjugates::ignored, scale});
      scale = 1.0;
      return matrices;
    };
    const auto entries = [](const FourierAxis& axis) { return axis.period == 0 ? axis.points : axis.modes; };
    for (std::size_t i = 0; i + 1 < transform.axes.size(); ++i) {
      const FourierAxis& axis = transform.axes[i];
      steps_.push_back({to_modes() ? axis.points : entries(axis), to_modes() ? entries(axis) : axis.points, matrices_of(axis, false)});
      rows_in_ *= steps_.back().in, rows_out_ *= steps_.back().out;
    }
    const FourierAxis& axis = transform.axes.back();
    points_ = axis.points, kept_ = entries(axis);
    last_ = matrices_of(axis, true);
    row_in_ = to_modes() ? numbers_ * points_ : 2 * kept_;
    row_out_ = to_modes() ? 2 * kept_ : numbers_ * points_;
  }

  void fields_to_modes(std::int64_t fields, const T* x, T* y, T* here) const {
    T *there = here + scratch_.fields, *folded = there + scratch_.fields, *products = folded + scratch_.folded;
    const std::int64_t rows = fields * rows_in_;
    if (last_ == nullptr) {
      cpu::split_rows(rows, kept_, x, here, row_step_);
    } else {
      for (std::int64_t row = 0; row < rows; row += kGroupRows) {
        last_to_modes(std::min(kGroupRows, rows - row), x + row * row_in_, here + row * row_step_, folded, products);
      }
    }
    std::int64_t before = rows, inner = 1;
    for (auto step = steps_.rbegin(); step != steps_.rend(); ++step) {
      before /= step->in;
      middle(*step, before, inner, here, there, folded, products);
      inner *= step->out;
    }
    cpu::join_rows(fields * rows_out_, kept_, here, row_step_, y);
  }

  void modes_to_fields(std::int64_t fields, const T* x, T* y, T* here) const {
    T *there = here + scratch_.fields, *folded = there + scratch_.fields, *products = folded + scratch_.folded;
    cpu::split_rows(fields * rows_in_, kept_, x, here, row_step_);
    std::int64_t before = fields, inner = rows_in_;
    for (const Step<T>& step : steps_) {
      inner /= step.in;
      middle(step, before, inner, here, there, folded, products);
      before *= step.out;
    }
    const std::int64_t rows = fields * rows_out_;
    if (last_ == nullptr) return cpu::join_rows(rows, kept_, here, row_step_, y);
    for (std::int64_t row = 0; row < rows; row += kGroupRows) {
      last_to_field(std::min(kGroupRows, rows - row), here + row * row_step_, y + row * row_out_, products);
    }
  }

  /// c (rows, matrix columns) = a times a matrix of the last axis; writes up to whole tiles of rows and vectors.
  void times(std::int64_t rows, const T* a, std::int64_t a_step, const T* matrix, T* c, std::int64_t c_step) const {
    cpu::small_product<T, cpu::Layout::rows>(round_up(rows, kTileRows), last_->step, last_->depth(), {a, a_step}, {matrix, last_->step},
                                             {c, c_step});
  }

  /// Rows of points to rows of modes. Folded rows hold the sums of pairs and then the differences, for each part of the numbers.
  void last_to_modes(std::int64_t rows, const T* x, T* modes, T* folded, T* products) const {
    const std::int64_t depth = last_->depth(), step = 2 * numbers_ * depth, width = last_->step;
    for (std::int64_t row = 0; row < rows; ++row) {
      for (std::int64_t part = 0; part < numbers_; ++part) {
        T* sums = folded + row * step + 2 * part * depth;
        cpu::fold_row(points_, depth, x + row * row_in_ + part, numbers_, sums, sums + depth);
      }
    }
    if (numbers_ == 1) {
      times(rows, folded, step, last_->cosines, modes, row_step_);
      return times(rows, folded + depth, step, last_->sines, modes + kept_, row_step_);
    }
    T *cos_re = products, *sin_re = cos_re + kGroupRows * width, *cos_im = sin_re + kGroupRows * width,
      *sin_im = cos_im + kGroupRows * width;
    times(rows, folded, step, last_->cosines, cos_re, width);
    times(rows, folded + depth, step, last_->sines, sin_re, width);
    times(rows, folded + 2 * depth, step, last_->cosines, cos_im, width);
    times(rows, folded + 3 * depth, step, last_->sines, sin_im, width);
    for (std::int64_t row = 0; row < rows; ++row) {  // A - i B
      const std::int64_t at = row * width;
      T* target = modes + row * row_step_;
      for (std::int64_t k = 0; k < kept_; ++k) target[k] = cos_re[at + k] + sin_im[at + k];
      for (std::int64_t k = 0; k < kept_; ++k) target[kept_ + k] = cos_im[at + k] - sin_re[at + k];
    }
  }

  /// Rows of modes to rows of points: A + i B, of which a real field has the real part (its sines have that sign).
  void last_to_field(std::int64_t rows, const T* modes, T* y, T* products) const {
    const std::int64_t width = last_->step, part = kGroupRows * width, pairs = last_->width();
    T *cos_re = products, *sin_im = cos_re + part, *cos_im = sin_im + part, *sin_re = cos_im + part;
    times(rows, modes, row_step_, last_->cosines, cos_re, width);
    times(rows, modes + kept_, row_step_, last_->sines, sin_im, width);
    if (numbers_ == 2) {
      times(rows, modes + kept_, row_step_, last_->cosines, cos_im, width);
      times(rows, modes, row_step_, last_->sines, sin_re, width);
    }
    for (std::int64_t row = 0; row < rows; ++row) {
      const std::int64_t at = row * width;
      T* target = y + row * row_out_;
      if (numbers_ == 1) {
        cpu::unfold_row(points_, pairs, T(1), cos_re + at, sin_im + at, target, 1);
      } else {
        cpu::unfold_row(points_, pairs, T(-1), cos_re + at, sin_im + at, target, 2);
        cpu::unfold_row(points_, pairs, T(1), cos_im + at, sin_re + at, target + 1, 2);
      }
    }
  }

  /// Through the middle axis of (before, entries, inner) rows, if it is transformed; the result is `here` again.
  void middle(const Step<T>& step, std::int64_t before, std::int64_t inner, T*& here, T*& there, T* folded, T* products) const {
    if (step.matrices == nullptr) return;
    const AxisMatrices<T>& matrices = *step.matrices;
    const std::int64_t panel = panel_step(), all = before * inner;
    T *sums = folded, *differences = folded + matrices.depth() * panel, *cosines = products, *sines = products + matrices.width() * panel;
    cpu::Columns columns{.begins = {}, .kept = kept_};
    for (std::int64_t first = 0; first < all; first += panel_columns()) {
      const std::int64_t count = std::min(panel_columns(), all - first), width = round_up(count * 2 * kept_, kLanes<T>);
      columns.place(first, count, step.in, inner, row_step_);
      cpu::fold_columns<T>(matrices.in, columns, here, {sums, panel}, {differences, panel});
      cpu::tiled_product<T>(matrices.left_cosines, width, {sums, panel}, {cosines, panel});
      cpu::tiled_product<T>(matrices.left_sines, width, {differences, panel}, {sines, panel});
      columns.place(first, count, step.out, inner, row_step_);
      cpu::unfold_columns<T>(matrices.out, to_modes() ? T(-1) : T(1), columns, {cosines, panel}, {sines, panel}, there);
    }
    std::swap(here, there);
  }

  Direction direction_;
  std::int64_t numbers_;        // of a point: 1 real, 2 complex
  std::vector<Step<T>> steps_;  // of all axes but the last
  const AxisMatrices<T>* last_ = nullptr;
  std::int64_t points_ = 0, kept_ = 0;       // of the last axis; kept modes, or points if it is left as it is
  std::int64_t row_in_ = 0, row_out_ = 0;    // numbers of a row outside
  std::int64_t row_step_ = 0;                // and inside
  std::int64_t rows_in_ = 1, rows_out_ = 1;  // of a field: entries of all axes but the last
  std::int64_t group_ = 1;                   // fields that go together
  Scratch<T> scratch_;
};

/// Nothing to sum over: zeros.
bool is_empty_sum(const FourierTransform& transform, Direction direction) {
  return std::ranges::any_of(transform.axes, [&](const FourierAxis& axis) {
    return axis.period != 0 && (direction == Direction::to_modes ? axis.points : axis.modes) == 0;
  });
}

template <class T>
void run(const FourierTransform& transform, Direction direction, const T* x, T* y) {
  std::int64_t entries_in = transform.count, entries_out = transform.count;
  for (const FourierAxis& axis : transform.axes) {
    const bool to_modes = direction == Direction::to_modes;
    const std::int64_t modes = axis.period == 0 ? axis.points : axis.modes;
    entries_in *= to_modes ? axis.points : modes, entries_out *= to_modes ? modes : axis.points;
  }
  if (entries_out == 0) return;
  if (is_empty_sum(transform, direction)) {
    std::fill_n(y, entries_out * (direction == Direction::to_field && transform.real ? 1 : 2), T(0));
    return;
  }
  if (entries_in == 0) return;
  Groups<T>(transform, direction).run(transform.count, x, y);
}

}  // namespace

template <class T>
void fourier_modes(Cpu, const FourierTransform& transform, const T* x, T* modes) {
  run(transform, Direction::to_modes, x, modes);
}

template <class T>
void fourier_field(Cpu, const FourierTransform& transform, const T* modes, T* x) {
  run(transform, Direction::to_field, modes, x);
}

template void fourier_modes(Cpu, const FourierTransform&, const float*, float*);
template void fourier_modes(Cpu, const FourierTransform&, const double*, double*);
template void fourier_field(Cpu, const FourierTransform&, const float*, float*);
template void fourier_field(Cpu, const FourierTransform&, const double*, double*);

}  // namespace trident
