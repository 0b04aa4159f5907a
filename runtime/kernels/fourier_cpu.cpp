// Kept modes are few, so an axis is transformed as a product with a matrix of sines and cosines: it computes what is kept and nothing else,
// places every frequency where it belongs on any grid, takes parts of grids, and runs at the speed of a matrix product.
#include "runtime/kernels/fourier.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>
#include <numbers>
#include <tuple>
#include <utility>

#include "runtime/device/allocator.h"
#include "runtime/kernels/complex_panel.h"

namespace trident {
namespace {

using cpu::kLanes;
using cpu::kTileRows;

constexpr std::int64_t kGroupRows = 64;  // rows that share one product over the last axis

std::int64_t round_up(std::int64_t n, std::int64_t step) { return (n + step - 1) / step * step; }

enum class Direction { to_modes, to_field };

template <class T>
class Buffer {
 public:
  explicit Buffer(std::int64_t size) : block_(static_cast<std::size_t>(size) * sizeof(T), Device{}) {}
  T* data() const { return static_cast<T*>(block_.data()); }

 private:
  Block block_;
};

struct Angle {
  double cosine, sine;
};
/// e^{2 pi i k n / period}, exact where it is 1, i, -1 or -i: what must vanish then does.
Angle angle(std::int64_t k, std::int64_t n, std::int64_t period) {
  const std::int64_t steps = ((k % period) * (n % period) % period + period) % period;
  if (4 * steps % period == 0) {
    constexpr Angle kQuarters[4] = {{1, 0}, {0, 1}, {-1, 0}, {0, -1}};
    return kQuarters[4 * steps / period];
  }
  const double turn = 2.0 * std::numbers::pi * static_cast<double>(steps) / static_cast<double>(period);
  return {std::cos(turn), std::sin(turn)};
}

double weight(const FourierAxis& axis, std::int64_t mode, Conjugates conjugates) {
  const bool alone = mode == 0 || 2 * mode == axis.period;
  return conjugates == Conjugates::counted && !alone ? 2.0 : 1.0;
}

/// The matrix of the last axis: what goes in by what comes out, rows padded to whole vectors.
template <class T>
void fill_last(const FourierAxis& axis, Direction direction, bool real, Conjugates conjugates, double scale, std::int64_t step, T* matrix) {
  const bool to_modes = direction == Direction::to_modes;
  const std::int64_t width = real ? 1 : 2;  // numbers of a point
  const auto set = [&](std::int64_t of_point, std::int64_t of_mode, double value) {
    (to_modes ? matrix[of_point * step + of_mode] : matrix[of_mode * step + of_point]) = static_cast<T>(value);
  };
  for (std::int64_t n = 0; n < axis.points; ++n) {
    for (std::int64_t k = 0; k < axis.modes; ++k) {
      const auto [cosine, sine] = angle(axis.first_mode + k, axis.first_point + n, axis.period);
      const double factor = scale * (real ? weight(axis, axis.first_mode + k, conjugates) : 1.0);
      set(width * n, 2 * k, factor * cosine);
      set(width * n, 2 * k + 1, -factor * sine);
      if (real) continue;
      set(2 * n + 1, 2 * k, factor * sine);
      set(2 * n + 1, 2 * k + 1, factor * cosine);
    }
  }
}

/// The matrix of another axis: a row for every number that comes out, the real parts of its factors and then the imaginary ones.
template <class T>
void fill_other(const FourierAxis& axis, Direction direction, double scale, T* matrix) {
  const bool to_modes = direction == Direction::to_modes;
  const std::int64_t in = to_modes ? axis.points : axis.modes;
  for (std::int64_t n = 0; n < axis.points; ++n) {
    for (std::int64_t k = 0; k < axis.modes; ++k) {
      const auto [cosine, sine] = angle(axis.first_mode + k, axis.first_point + n, axis.period);
      T* row = matrix + 2 * in * (to_modes ? k : n) + (to_modes ? n : k);
      row[0] = static_cast<T>(scale * cosine);
      row[in] = static_cast<T>(to_modes ? -scale * sine : scale * sine);
    }
  }
}

/// What a matrix depends on.
struct MatrixKey {
  FourierAxis axis;
  Direction direction;
  bool last, real;
  Conjugates conjugates;
  double scale;

  auto tie() const {
    return std::tuple(axis.period, axis.first_point, axis.points, axis.first_mode, axis.modes, direction, last, real, conjugates, scale);
  }
  bool operator<(const MatrixKey& other) const { return tie() < other.tie(); }
};

/// Row-major: the last axis's in by out numbers, rows padded to whole vectors; another axis's out rows, padded to whole tiles, by twice in.
/// Matrices live as long as the process.
template <class T>
const T* matrix_of(const MatrixKey& key) {
  static std::mutex mutex;
  static auto& matrices = *new std::map<MatrixKey, Buffer<T>>;
  const std::lock_guard lock(mutex);
  const auto found = matrices.find(key);
  if (found != matrices.end()) return found->second.data();
  const bool to_modes = key.direction == Direction::to_modes;
  const std::int64_t in = to_modes ? key.axis.points : key.axis.modes, out = to_modes ? key.axis.modes : key.axis.points;
  const std::int64_t points = key.real ? key.axis.points : 2 * key.axis.points, modes = 2 * key.axis.modes;
  const std::int64_t step = round_up(to_modes ? modes : points, kLanes<T>);
  const std::int64_t size = key.last ? (to_modes ? points : modes) * step : round_up(out, kTileRows) * 2 * in;
  Buffer<T> buffer(size);
  std::fill_n(buffer.data(), size, T(0));
  if (key.last) {
    fill_last(key.axis, key.direction, key.real, key.conjugates, key.scale, step, buffer.data());
  } else {
    fill_other(key.axis, key.direction, key.scale, buffer.data());
  }
  return matrices.emplace(key, std::move(buffer)).first->second.data();
}

/// One axis of a transform in one direction: `matrix` is null where it is left as it is.
template <class T>
struct Step {
  std::int64_t in = 0, out = 0;  // entries before and after; numbers for the last axis
  const T* matrix = nullptr;
};

/// The steps of all axes, the scale in the first one that has a matrix.
template <class T>
std::vector<Step<T>> steps_of(const FourierTransform& transform, Direction direction) {
  std::vector<Step<T>> steps;
  double scale = transform.scale;
  for (std::size_t i = 0; i < transform.axes.size(); ++i) {
    const FourierAxis& axis = transform.axes[i];
    const bool last = i + 1 == transform.axes.size(), to_modes = direction == Direction::to_modes;
    const std::int64_t points = axis.points, modes = axis.period == 0 ? axis.points : axis.modes;
    Step<T> step{to_modes ? points : modes, to_modes ? modes : points};
    if (last) {
      const bool real = transform.real;
      step.in *= to_modes && real ? 1 : 2;
      step.out *= to_modes || !real ? 2 : 1;
    }
    if (axis.period != 0 && step.in > 0 && step.out > 0) {
      step.matrix = matrix_of<T>({axis, direction, last, last && transform.real, last ? transform.conjugates : Conjugates::ignored, scale});
      scale = 1.0;
    }
    steps.push_back(step);
  }
  return steps;
}

template <class T>
void copy_rows(std::int64_t rows, std::int64_t width, const T* from, std::int64_t from_step, T* to, std::int64_t to_step) {
  for (std::int64_t row = 0; row < rows; ++row) std::copy_n(from + row * from_step, width, to + row * to_step);
}

/// to (before, out, after) = matrix applied to the middle axis of from (before, in, after); `after` counts numbers in whole vectors. Writes up
/// to a tile of rows past `to`.
template <class T>
void transform_middle(const Step<T>& step, std::int64_t before, std::int64_t after, const T* from, T* to, T* panel) {
  constexpr std::int64_t kWidth = cpu::kPanelWidth<T>;
  for (std::int64_t i = 0; i < before; ++i) {
    for (std::int64_t column = 0; column < after; column += kWidth) {
      const std::int64_t width = std::min(kWidth, after - column);
      cpu::fill_panel(step.in, width, from + i * step.in * after + column, after, panel);
      cpu::small_product<T, cpu::Layout::rows>(round_up(step.out, kTileRows), width, 2 * step.in, {step.matrix, 2 * step.in}, {panel, kWidth},
                                               {to + i * step.out * after + column, after});
    }
  }
}

/// The transform of groups of fields through two buffers, from one to the other and back.
template <class T>
class Groups {
 public:
  Groups(const FourierTransform& transform, Direction direction) : steps_(steps_of<T>(transform, direction)), direction_(direction) {
    for (std::size_t i = 0; i + 1 < steps_.size(); ++i) rows_in_ *= steps_[i].in, rows_out_ *= steps_[i].out;
    const Step<T>& last = steps_.back();
    kept_width_ = direction == Direction::to_modes ? last.out : last.in;
    row_step_ = round_up(kept_width_, kLanes<T>);
    const std::int64_t rows = std::max<std::int64_t>(1, direction == Direction::to_modes ? rows_in_ : rows_out_);
    group_ = std::clamp<std::int64_t>((kGroupRows + rows - 1) / rows, 1, std::max<std::int64_t>(1, transform.count));
    std::int64_t most = 1, depth = 1, widest_tile = kTileRows;
    std::int64_t rows_after = 1;  // rows of one entry of an axis
    for (std::size_t i = steps_.size() - 1; i-- > 0;) {
      depth = std::max(depth, 2 * steps_[i].in);
      widest_tile = std::max(widest_tile, kTileRows * rows_after);
      rows_after *= std::max(steps_[i].in, steps_[i].out);
    }
    most = group_ * rows_after + widest_tile;
    const std::int64_t widest = std::max({row_step_, round_up(last.in, kLanes<T>), round_up(last.out, kLanes<T>)});
    buffer_size_ = most * widest;
    panel_size_ = depth * cpu::kPanelWidth<T>;
  }

  void run(std::int64_t count, const T* x, T* y) const {
    const std::int64_t tasks = (count + group_ - 1) / group_;
    const std::int64_t in = rows_in_ * steps_.back().in, out = rows_out_ * steps_.back().out;
    if (out == 0) return;
#pragma omp parallel if (tasks > 1 && count * (in + out) > 1 << 13)
    {
      const Buffer<T> first(buffer_size_), second(buffer_size_), panel(panel_size_);
#pragma omp for schedule(static)
      for (std::int64_t task = 0; task < tasks; ++task) {
        const std::int64_t begin = task * group_, fields = std::min(group_, count - begin);
        if (direction_ == Direction::to_modes) {
          to_modes(fields, x + begin * in, y + begin * out, first.data(), second.data(), panel.data());
        } else {
          to_field(fields, x + begin * in, y + begin * out, first.data(), second.data(), panel.data());
        }
      }
    }
  }

 private:
  void to_modes(std::int64_t fields, const T* x, T* y, T* here, T* there, T* panel) const {
    const Step<T>& last = steps_.back();
    const std::int64_t rows = fields * rows_in_;
    if (last.matrix == nullptr) {
      copy_rows(rows, last.in, x, last.in, here, row_step_);
    } else {
      const T* source = x;
      if (rows % kTileRows != 0) {
        std::copy_n(x, rows * last.in, there);
        source = there;
      }
      cpu::small_product<T, cpu::Layout::rows>(round_up(rows, kTileRows), row_step_, last.in, {source, last.in}, {last.matrix, row_step_},
                                               {here, row_step_});
    }
    std::int64_t before = rows, after = row_step_;
    for (std::size_t i = steps_.size() - 1; i-- > 0;) {
      before = steps_[i].in == 0 ? 0 : before / steps_[i].in;
      middle(steps_[i], before, after, here, there, panel);
      after *= steps_[i].out;
    }
    copy_rows(fields * rows_out_, kept_width_, here, row_step_, y, kept_width_);
  }

  void to_field(std::int64_t fields, const T* x, T* y, T* here, T* there, T* panel) const {
    const Step<T>& last = steps_.back();
    copy_rows(fields * rows_in_, kept_width_, x, kept_width_, here, row_step_);
    std::int64_t before = fields, after = rows_in_ * row_step_;
    for (std::size_t i = 0; i + 1 < steps_.size(); ++i) {
      after = steps_[i].in == 0 ? 0 : after / steps_[i].in;
      middle(steps_[i], before, after, here, there, panel);
      before *= steps_[i].out;
    }
    const std::int64_t rows = fields * rows_out_, step = round_up(last.out, kLanes<T>);
    if (last.matrix == nullptr) return copy_rows(rows, last.out, here, row_step_, y, last.out);
    const bool fits = rows % kTileRows == 0 && step == last.out;
    T* target = fits ? y : there;
    cpu::small_product<T, cpu::Layout::rows>(round_up(rows, kTileRows), step, last.in, {here, row_step_}, {last.matrix, step}, {target, step});
    if (!fits) copy_rows(rows, last.out, there, step, y, last.out);
  }

  /// Through an axis, if it is transformed; the result is `here` again.
  void middle(const Step<T>& step, std::int64_t before, std::int64_t after, T*& here, T*& there, T* panel) const {
    if (step.matrix == nullptr) return;
    transform_middle(step, before, after, here, there, panel);
    std::swap(here, there);
  }

  std::vector<Step<T>> steps_;
  Direction direction_;
  std::int64_t rows_in_ = 1, rows_out_ = 1;      // of a field: entries of all axes but the last
  std::int64_t kept_width_ = 0, row_step_ = 0;   // numbers of a row of modes, and the same in whole vectors
  std::int64_t group_ = 1;                       // fields that go together
  std::int64_t buffer_size_ = 0, panel_size_ = 0;
};

/// Nothing to sum over: zeros.
bool is_empty_sum(const FourierTransform& transform, Direction direction) {
  return std::ranges::any_of(transform.axes, [&](const FourierAxis& axis) {
    return axis.period != 0 && (direction == Direction::to_modes ? axis.points : axis.modes) == 0;
  });
}

template <class T>
void run(const FourierTransform& transform, Direction direction, const T* x, T* y) {
  if (is_empty_sum(transform, direction)) {
    std::int64_t size = transform.count * (direction == Direction::to_field && transform.real ? 1 : 2);
    for (const FourierAxis& axis : transform.axes) size *= direction == Direction::to_field || axis.period == 0 ? axis.points : axis.modes;
    std::fill_n(y, size, T(0));
    return;
  }
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
