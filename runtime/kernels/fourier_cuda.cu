// As on the CPU: kept modes are few, so an axis is transformed as a product with a matrix of sines and cosines.
#include "runtime/kernels/fourier.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "runtime/device/cuda_device.h"
#include "runtime/device/cuda_driver.h"
#include "runtime/device/launch_only.h"
#include "runtime/kernels/cuda/tiled_product.h"
#include "runtime/kernels/cuda/workspace.h"

namespace trident {
namespace {

using cuda::Complex;
using cuda::StoreRows;
using cuda::TiledProduct;

enum class Direction { to_modes, to_field };
/// What a matrix maps: complex numbers to complex ones, or a real field to modes, or back.
enum class Entries { complex, real_field };

/// What a matrix depends on.
struct MatrixKey {
  FourierAxis axis;
  Direction direction;
  Entries entries;
  Conjugates conjugates;
  double scale;
  int device;

  auto tie() const {
    return std::tuple(axis.period, axis.first_point, axis.points, axis.first_mode, axis.modes, direction, entries, conjugates, scale,
                      device);
  }
  bool operator<(const MatrixKey& other) const { return tie() < other.tie(); }
};

/// e^{2 pi i k n / period}, exact where it is 1, i, -1 or -i: what must vanish then does.
__device__ __forceinline__ Complex<double> angle(std::int64_t k, std::int64_t n, std::int64_t period) {
  const std::int64_t steps = ((k % period) * (n % period) % period + period) % period;
  if (4 * steps % period == 0) {
    const std::int64_t quarter = 4 * steps / period;
    return {quarter == 0 ? 1.0 : quarter == 2 ? -1.0 : 0.0, quarter == 1 ? 1.0 : quarter == 3 ? -1.0 : 0.0};
  }
  const double turn = 2.0 * 3.14159265358979323846 * static_cast<double>(steps) / static_cast<double>(period);
  return {cos(turn), sin(turn)};
}

/// Complex entries: (out, in) factors. A real field's modes: (points, 2 modes); from them: (2 modes, points).
template <class T>
__global__ void fill_matrix_kernel(MatrixKey key, T* matrix) {
  const std::int64_t points = key.axis.points, modes = key.axis.modes;
  const std::int64_t place = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (place >= points * modes) return;
  const std::int64_t n = place / modes, k = place % modes, mode = key.axis.first_mode + k;
  const Complex<double> factor = angle(mode, key.axis.first_point + n, key.axis.period);
  const bool to_modes = key.direction == Direction::to_modes;
  if (key.entries == Entries::complex) {
    T* to = matrix + 2 * (to_modes ? k * points + n : n * modes + k);
    to[0] = static_cast<T>(key.scale * factor.re);
    to[1] = static_cast<T>(to_modes ? -key.scale * factor.im : key.scale * factor.im);
    return;
  }
  const bool alone = mode == 0 || 2 * mode == key.axis.period;
  const double scale = key.conjugates == Conjugates::counted && !alone ? 2.0 * key.scale : key.scale;
  const T re = static_cast<T>(scale * factor.re), im = static_cast<T>(-scale * factor.im);
  if (to_modes) {
    matrix[n * 2 * modes + 2 * k] = re;
    matrix[n * 2 * modes + 2 * k + 1] = im;
  } else {
    matrix[2 * k * points + n] = re;
    matrix[(2 * k + 1) * points + n] = im;
  }
}

template <class From, class To>
__global__ void copy_kernel(std::int64_t count, std::int64_t adds, const From* from, To* to) {
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const auto value = from == nullptr ? cuda::Compute<From>(0) : cuda::compute(from[i]);
  to[i] = cuda::stored<To>(adds != 0 ? cuda::compute(to[i]) + value : value);
}

/// A real field (ny, nx) and its modes (my, mx), of which a block transforms both axes in shared memory: where fields are small a second
/// launch costs more than all of it.
struct SmallField {
  int ny, nx, my, mx;

  /// Numbers: what a block is given, and what lies between the axes.
  int given(Direction direction) const { return direction == Direction::to_modes ? ny * nx : 2 * my * mx; }
  __host__ __device__ int between() const { return 2 * ny * mx; }
};
constexpr std::int64_t kMostSmallNumbers = 4096;  // that a block holds

/// Calls ending(i, number i of a (rows, depth) b (depth, columns)). All threads of a block call it together.
template <class Number, class Factor, class Ending>
__device__ __forceinline__ void multiply_small(int rows, int columns, int depth, const Factor* a, const Number* b, Ending ending) {
  for (int i = static_cast<int>(threadIdx.x); i < rows * columns; i += static_cast<int>(blockDim.x)) {
    const int row = i / columns, column = i % columns;
    Number sum{};
    for (int k = 0; k < depth; ++k) cuda::multiply_add(a[row * depth + k], b[k * columns + column], sum);
    ending(i, sum);
  }
  __syncthreads();
}

template <class T, class From>
__global__ void small_modes_kernel(SmallField size, const From* x, const T* of_columns, const Complex<T>* of_rows, Complex<T>* modes) {
  T* between = cuda::dynamic_shared<T>();
  T* field = between + size.between();
  const int points = size.ny * size.nx;
  x += std::int64_t{blockIdx.x} * points;
  for (int i = static_cast<int>(threadIdx.x); i < points; i += static_cast<int>(blockDim.x)) field[i] = cuda::compute(x[i]);
  __syncthreads();
  multiply_small(size.ny, 2 * size.mx, size.nx, field, of_columns, [&](int i, T value) { between[i] = value; });
  Complex<T>* to = modes + std::int64_t{blockIdx.x} * size.my * size.mx;
  multiply_small(size.my, size.mx, size.ny, of_rows, reinterpret_cast<const Complex<T>*>(between),
                 [&](int i, Complex<T> value) { to[i] = value; });
}

template <class T, class To>
__global__ void small_field_kernel(SmallField size, const Complex<T>* modes, const T* of_columns, const Complex<T>* of_rows,
                                   std::int64_t adds, To* x) {
  auto* given = cuda::dynamic_shared<Complex<T>>();
  Complex<T>* between = given + size.my * size.mx;
  const int count = size.my * size.mx;
  modes += std::int64_t{blockIdx.x} * count;
  for (int i = static_cast<int>(threadIdx.x); i < count; i += static_cast<int>(blockDim.x)) given[i] = modes[i];
  __syncthreads();
  multiply_small(size.ny, size.mx, size.my, of_rows, given, [&](int i, Complex<T> value) { between[i] = value; });
  To* to = x + std::int64_t{blockIdx.x} * size.ny * size.nx;
  multiply_small(size.ny, size.nx, 2 * size.mx, reinterpret_cast<const T*>(between), of_columns,
                 [&](int i, T value) { to[i] = cuda::stored<To>(adds != 0 ? cuda::compute(to[i]) + value : value); });
}

constexpr unsigned kThreads = 256;
dim3 blocks_for(std::int64_t count) { return dim3(static_cast<unsigned>((count + kThreads - 1) / kThreads)); }

/// Matrices live as long as the process. One is complete, for any stream, when this returns.
template <class T>
const T* matrix_of(Cuda cuda, const MatrixKey& key) {
  static std::mutex mutex;
  static auto& matrices = *new std::map<MatrixKey, Block>;
  const std::lock_guard lock(mutex);
  const auto found = matrices.find(key);
  if (found != matrices.end()) return static_cast<const T*>(found->second.data());
  require_waiting_allowed("fourier: the matrix of an axis");
  const std::int64_t entries = key.axis.points * key.axis.modes;
  Block block = cuda::workspace(cuda, static_cast<std::size_t>(2 * entries) * sizeof(T));
  cuda::launch_kernel(fill_matrix_kernel<T>, blocks_for(entries), dim3(kThreads), 0, cuda, key, static_cast<T*>(block.data()));
  cuda_driver::synchronize(cuda.stream);
  return static_cast<const T*>(matrices.emplace(key, std::move(block)).first->second.data());
}

Direction opposite(Direction direction) { return direction == Direction::to_modes ? Direction::to_field : Direction::to_modes; }
/// Entries of an axis on the side that `direction` leads to.
std::int64_t extent_at(const FourierAxis& axis, Direction side) {
  return side == Direction::to_modes && axis.period != 0 ? axis.modes : axis.points;
}

/// T: of modes and of what lies between the axes.
template <class T>
class Transform {
 public:
  Transform(Cuda cuda, const FourierTransform& transform, Direction direction)
      : cuda_(cuda), transform_(transform), direction_(direction), scale_(transform.scale) {
    for (const FourierAxis& axis : transform.axes) extents_.push_back(extent_at(axis, opposite(direction)));
  }

  template <class From, class To>
  void run(const From* x, To* y) {
    std::vector<std::size_t> order;
    for (std::size_t i = 0; i < extents_.size(); ++i) {
      if (transform_.axes[i].period != 0) order.push_back(i);
    }
    if (direction_ == Direction::to_modes) std::reverse(order.begin(), order.end());
    if (const auto small = small_field()) return through_both(*small, x, y);
    if (order.empty()) return copy(2 * product(0, extents_.size()) * transform_.count, x, y);
    Block held;
    for (const std::size_t axis : order) {
      const bool first = axis == order.front(), last = axis == order.back();
      adds_ = last && transform_.sum == Sum::adds;
      Block next = last ? Block() : cuda::workspace(cuda_, static_cast<std::size_t>(numbers_after(axis)) * sizeof(T));
      T* between = static_cast<T*>(next.data());
      const T* from = static_cast<const T*>(held.data());
      if (first && last) through(axis, x, y);
      if (first && !last) through(axis, x, between);
      if (!first && last) through(axis, from, y);
      if (!first && !last) through(axis, from, between);
      extents_[axis] = extent_at(transform_.axes[axis], direction_);
      held = std::move(next);
    }
  }

  template <class From, class To>
  void copy(std::int64_t count, const From* from, To* to) const {
    cuda::launch_kernel(copy_kernel<From, To>, blocks_for(count), dim3(kThreads), 0, cuda_, count, transform_.sum == Sum::adds ? 1 : 0,
                        from, to);
  }

 private:
  std::int64_t product(std::size_t first, std::size_t last) const {
    std::int64_t result = 1;
    for (std::size_t i = first; i < last; ++i) result *= extents_[i];
    return result;
  }

  /// Upper bound, once `axis` is transformed.
  std::int64_t numbers_after(std::size_t axis) const {
    return 2 * transform_.count * product(0, axis) * extent_at(transform_.axes[axis], direction_) * product(axis + 1, extents_.size());
  }

  std::optional<SmallField> small_field() const {
    const std::vector<FourierAxis>& axes = transform_.axes;
    if (axes.size() != 2 || !transform_.real || axes[0].period == 0 || axes[1].period == 0) return std::nullopt;
    const std::int64_t ny = axes[0].points, nx = axes[1].points, my = axes[0].modes, mx = axes[1].modes;
    if (std::max(ny * nx, 2 * my * mx) + 2 * ny * mx > kMostSmallNumbers) return std::nullopt;
    return SmallField{static_cast<int>(ny), static_cast<int>(nx), static_cast<int>(my), static_cast<int>(mx)};
  }

  template <class From, class To>
  void through_both(const SmallField& field, const From* x, To* y) {
    const T* of_columns = matrix(1);
    const auto* of_rows = reinterpret_cast<const Complex<T>*>(matrix(0));
    const std::size_t shared = static_cast<std::size_t>(field.given(direction_) + field.between()) * sizeof(T);
    const dim3 grid(static_cast<unsigned>(transform_.count));
    if constexpr (std::is_same_v<To, T>) {
      if (direction_ == Direction::to_modes) {
        return cuda::launch_kernel(small_modes_kernel<T, From>, grid, dim3(kThreads), shared, cuda_, field, x, of_columns, of_rows,
                                   reinterpret_cast<Complex<T>*>(y));
      }
    }
    if constexpr (std::is_same_v<From, T>) {
      cuda::launch_kernel(small_field_kernel<T, To>, grid, dim3(kThreads), shared, cuda_, field, reinterpret_cast<const Complex<T>*>(x),
                          of_columns, of_rows, transform_.sum == Sum::adds ? 1 : 0, y);
    }
  }

  /// Of an axis; the first one scales, too.
  const T* matrix(std::size_t axis) {
    const bool real = axis + 1 == extents_.size() && transform_.real;
    return matrix_of<T>(cuda_, {transform_.axes[axis], direction_, real ? Entries::real_field : Entries::complex,
                                real ? transform_.conjugates : Conjugates::ignored, std::exchange(scale_, 1.0), cuda_.index});
  }

  /// bf16 stands at the real end alone.
  template <class From, class To>
  void through(std::size_t axis, const From* from, To* to) {
    const FourierAxis& one = transform_.axes[axis];
    const bool last = axis + 1 == extents_.size(), real = last && transform_.real;
    const T* factors = matrix(axis);
    const std::int64_t before = transform_.count * product(0, axis), in = extents_[axis], out = extent_at(one, direction_);
    if (real) {
      const bool to_modes = direction_ == Direction::to_modes;
      const std::int64_t columns = to_modes ? 2 * out : out, depth = to_modes ? in : 2 * in;
      return cuda::tiled_product(cuda_, {.m = before, .n = columns, .k = depth, .a_m = depth, .a_k = 1, .b_k = columns, .b_n = 1}, from,
                                 factors, StoreRows<To>{to, before, columns, adds_});
    }
    if constexpr (std::is_same_v<From, T> && std::is_same_v<To, T>) complex_product(axis, factors, from, to);
  }

  void complex_product(std::size_t axis, const T* matrix, const T* from, T* to) {
    const std::int64_t before = transform_.count * product(0, axis), in = extents_[axis],
                       out = extent_at(transform_.axes[axis], direction_);
    const auto *x = reinterpret_cast<const Complex<T>*>(from), *factors = reinterpret_cast<const Complex<T>*>(matrix);
    auto* y = reinterpret_cast<Complex<T>*>(to);
    const std::int64_t after = product(axis + 1, extents_.size());
    if (after == 1) {
      return cuda::tiled_product(cuda_, {.m = before, .n = out, .k = in, .a_m = in, .a_k = 1, .b_k = 1, .b_n = in}, x, factors,
                                 StoreRows<Complex<T>>{y, before, out, adds_});
    }
    cuda::tiled_product(
        cuda_, {.batch = before, .m = out, .n = after, .k = in, .a_m = in, .a_k = 1, .b_batch = in * after, .b_k = after, .b_n = 1},
        factors, x, StoreRows<Complex<T>>{y, out, after, adds_});
  }

  Cuda cuda_;
  const FourierTransform& transform_;
  Direction direction_;
  double scale_;
  std::int64_t adds_ = 0;
  std::vector<std::int64_t> extents_;  // of the axes as they are now
};

/// Nothing to sum over: zeros.
bool is_empty_sum(const FourierTransform& transform, Direction direction) {
  return std::any_of(transform.axes.begin(), transform.axes.end(),
                     [&](const FourierAxis& axis) { return axis.period != 0 && extent_at(axis, opposite(direction)) == 0; });
}

template <class T, class From, class To>
void run(Cuda cuda, const FourierTransform& transform, Direction direction, const From* x, To* y) {
  std::int64_t size = transform.count * (direction == Direction::to_field && transform.real ? 1 : 2);
  for (const FourierAxis& axis : transform.axes) size *= extent_at(axis, direction);
  if (size == 0) return;
  if (is_empty_sum(transform, direction)) return Transform<T>(cuda, transform, direction).copy(size, static_cast<const T*>(nullptr), y);
  Transform<T>(cuda, transform, direction).run(x, y);
}

}  // namespace

template <class T>
void fourier_modes(Cuda cuda, const FourierTransform& transform, const T* x, Wide<T>* modes) {
  run<Wide<T>>(cuda, transform, Direction::to_modes, x, modes);
}

template <class T>
void fourier_field(Cuda cuda, const FourierTransform& transform, const Wide<T>* modes, T* x) {
  run<Wide<T>>(cuda, transform, Direction::to_field, modes, x);
}

#define TRIDENT_FOURIER(T)                                                           \
  template void fourier_modes<T>(Cuda, const FourierTransform&, const T*, Wide<T>*); \
  template void fourier_field<T>(Cuda, const FourierTransform&, const Wide<T>*, T*);
TRIDENT_FOURIER(float)
TRIDENT_FOURIER(double)
TRIDENT_FOURIER(bf16)

}  // namespace trident
