#include "runtime/ops/fourier.h"

#include <algorithm>
#include <type_traits>

#include "runtime/autograd/tape.h"
#include "runtime/ops/elementwise.h"
#include "runtime/ops/reduce.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"

namespace trident {
namespace {

[[noreturn]] void refuse(const char* op, const Tensor& x, const std::string& why) {
  throw ShapeError(concat(op, ": ", name_of(x.dtype()), " ", to_string(x.shape()), ": ", why));
}

/// `extent_of` says what x has of an axis.
template <class Extent>
void check(const char* op, const Tensor& x, const std::vector<FourierAxis>& axes, Extent&& extent_of) {
  const int lead = x.rank() - static_cast<int>(axes.size());
  if (axes.empty() || lead < 0) refuse(op, x, concat("has no ", axes.size(), " axes to transform"));
  for (std::size_t i = 0; i < axes.size(); ++i) {
    const FourierAxis& axis = axes[i];
    if (axis.period < 0 || axis.points < 0 || axis.modes < 0 || axis.first_point < 0) refuse(op, x, "an axis has negative extents");
    const std::int64_t wanted = axis.period == 0 ? axis.points : extent_of(axis);
    if (x.size(lead + static_cast<int>(i)) != wanted) refuse(op, x, concat("axis ", i, " of the transform takes ", wanted, " entries"));
  }
}

std::int64_t leading(const Tensor& x, std::size_t axes) {
  std::int64_t count = 1;
  for (int dim = 0; dim < x.rank() - static_cast<int>(axes); ++dim) count *= x.size(dim);
  return count;
}

/// Complex numbers as pairs of reals; real ones as they are.
template <class T>
T* parts(const Tensor& x) {
  return is_complex(x.dtype()) ? view::as_real(x).template data<T>() : x.template data<T>();
}

enum class Direction { to_modes, to_field };

/// x with its last `axes` dimensions before the others, or the first behind them.
Tensor turned(const Tensor& x, int axes) {
  Shape order;
  for (int dim = 0; dim < x.rank(); ++dim) order.push_back((dim + x.rank() - axes) % x.rank());
  return view::permute(x, order);
}

/// How the modes of x lie, or would if they were packed.
ModeOrder order_of(const Tensor& x, std::size_t axes) {
  const bool first = !x.is_cuda() && !x.is_contiguous() && turned(x, static_cast<int>(axes)).is_contiguous();
  return first ? ModeOrder::first : ModeOrder::last;
}

/// Modes of this shape (..., modes...).
Tensor empty_modes(const Shape& shape, std::size_t axes, ModeOrder order, DType dtype, Device device) {
  if (order == ModeOrder::last) return empty(shape, dtype, device);
  const int lead = shape.rank() - static_cast<int>(axes);
  Shape in_memory;
  for (int dim = 0; dim < shape.rank(); ++dim) in_memory.push_back(shape[(dim + lead) % shape.rank()]);
  return turned(empty(in_memory, dtype, device), lead);
}

/// `real_type`: of the field's numbers or of their parts. Of modes that go in the order is found out. A field may go to `place`.
Tensor transformed(const Tensor& x, FourierTransform transform, Direction direction, DType real_type, const GradientPlace& place = {},
                   const Tensor& bias = {}) {
  const char* op = direction == Direction::to_modes ? "fourier_modes" : "fourier_field";
  const std::vector<FourierAxis>& axes = transform.axes;
  if (direction == Direction::to_field) transform.order = order_of(x, axes.size());
  const Tensor in = direction == Direction::to_field && transform.order == ModeOrder::first ? x : packed(x);
  transform.count = leading(x, axes.size());
  Shape shape = x.shape();
  for (std::size_t i = 0; i < axes.size(); ++i) {
    const int dim = x.rank() - static_cast<int>(axes.size() - i);
    shape[dim] = axes[i].period == 0 || direction == Direction::to_field ? axes[i].points : axes[i].modes;
  }
  const DType complex_type = complex_of(wide(real_type));
  const Tensor y = direction == Direction::to_modes ? empty_modes(shape, axes.size(), transform.order, complex_type, x.device())
                   : place.to.defined()             ? place.to
                                                    : empty(shape, transform.real ? real_type : complex_type, x.device());
  transform.sum = place.adds ? Sum::adds : Sum::replaces;
  if (y.numel() == 0) return y;
  const Tensor& field = direction == Direction::to_modes ? in : y;
  launch_activations(op, is_complex(field.dtype()) ? view::as_real(field) : field, [&](auto device, auto type) {
    using T = decltype(type);
    using W = Wide<T>;
    if (direction == Direction::to_modes) {
      fourier_modes<T>(device, transform, parts<T>(in), parts<W>(y));
    } else {
      if constexpr (std::is_same_v<decltype(device), Cpu>) {
        const FieldBias<T> added = bias.defined() ? FieldBias<T>{bias.data<T>(), bias.numel()} : FieldBias<T>{};
        fourier_field<T>(device, transform, parts<W>(in), parts<T>(y), added);
      } else {
        fourier_field<T>(device, transform, parts<W>(in), parts<T>(y));
      }
    }
  });
  return y;
}

/// Whether a bias goes in with mode 0, which costs nothing; it must be there then.
bool takes_bias(const Tensor& modes, const FourierTransform& transform) {
  const bool has_mean = std::ranges::all_of(
      transform.axes, [](const FourierAxis& axis) { return axis.period > 0 && axis.first_mode <= 0 && axis.first_mode + axis.modes > 0; });
  return !modes.is_cuda() && transform.real && transform.axes.size() <= 2 && has_mean;
}

/// The gradient of a bias from that of the modes: mode 0 has the sum over the points of each field.
Tensor bias_gradient(const Tensor& dmodes, const std::vector<FourierAxis>& axes, const Shape& shape) {
  const int lead = dmodes.rank() - static_cast<int>(axes.size());
  Tensor means = dmodes;
  for (std::size_t i = 0; i < axes.size(); ++i)
    means = view::slice(means, lead + static_cast<int>(i), -axes[i].first_mode, -axes[i].first_mode + 1);
  const Tensor numbers = packed(view::slice(view::as_real(packed(means)), means.rank(), 0, 1));
  return view::reshape(sum(view::reshape(numbers, {numbers.numel() / numel(shape), numel(shape)}), {0}), shape);
}

}  // namespace

Tensor fourier_modes(const Tensor& x, const std::vector<FourierAxis>& axes, double scale, ModeOrder order) {
  check("fourier_modes", x, axes, [](const FourierAxis& axis) { return axis.points; });
  FourierTransform transform{.count = 0, .axes = axes, .real = !is_complex(x.dtype()), .scale = scale};
  if (!x.is_cuda()) transform.order = order;
  if (transform.real && axes.back().period == 0) refuse("fourier_modes", x, "the last axis of a real field must be transformed");
  const DType type = real_of(x.dtype());
  const auto backward = [transform, type, shape = x.shape(), dtype = x.dtype()](const Tensor& dy, Wanted wanted) {
    // Each mode stands for itself: what is not stored has no gradient.
    const GradientPlace place = wanted.place(0, shape, dtype, dy.device());
    transformed(dy, transform, Direction::to_field, type, place);
    return std::vector{place.result};
  };
  return record("fourier_modes", transformed(x, transform, Direction::to_modes, type), {x}, backward);
}

Tensor fourier_field(const Tensor& modes, const std::vector<FourierAxis>& axes, FieldNumbers numbers, std::optional<DType> real_type,
                     const Tensor& bias) {
  if (!is_complex(modes.dtype())) refuse("fourier_field", modes, "modes must be complex");
  check("fourier_field", modes, axes, [](const FourierAxis& axis) { return axis.modes; });
  FourierTransform transform{.count = 0, .axes = axes, .real = numbers == FieldNumbers::real, .conjugates = Conjugates::counted};
  transform.order = order_of(modes, axes.size());  // of the gradient too
  if (transform.real && axes.back().period == 0) refuse("fourier_field", modes, "the last axis of a real field must be transformed");
  const DType type = real_type && transform.real ? *real_type : real_of(modes.dtype());
  if (wide(type) != real_of(modes.dtype())) refuse("fourier_field", modes, concat("makes no field of ", name_of(type)));
  if (bias.defined() && !takes_bias(modes, transform)) return fourier_field(modes, axes, numbers, real_type) + bias;
  const Tensor added = bias.defined() ? packed(bias).detached() : Tensor{};
  return record("fourier_field", transformed(modes, transform, Direction::to_field, type, {}, added), {modes, bias},
                [transform, type, shape = added.defined() ? added.shape() : Shape{}](const Tensor& dy, Wanted wanted) {
                  const Tensor dmodes = transformed(dy, transform, Direction::to_modes, type);
                  return std::vector{dmodes, wanted[1] ? bias_gradient(dmodes, transform.axes, shape) : Tensor{}};
                });
}

}  // namespace trident
