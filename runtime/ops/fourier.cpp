#include "runtime/ops/fourier.h"

#include "runtime/autograd/tape.h"
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
T* parts(const Tensor& x) { return is_complex(x.dtype()) ? view::as_real(x).template data<T>() : x.template data<T>(); }

enum class Direction { to_modes, to_field };

Tensor transformed(const Tensor& x, FourierTransform transform, Direction direction) {
  const char* op = direction == Direction::to_modes ? "fourier_modes" : "fourier_field";
  const Tensor in = packed(x);
  const std::vector<FourierAxis>& axes = transform.axes;
  transform.count = leading(x, axes.size());
  Shape shape = x.shape();
  for (std::size_t i = 0; i < axes.size(); ++i) {
    const int dim = x.rank() - static_cast<int>(axes.size() - i);
    shape[dim] = axes[i].period == 0 || direction == Direction::to_field ? axes[i].points : axes[i].modes;
  }
  const DType part = real_of(x.dtype());
  const Tensor y = empty(shape, direction == Direction::to_field && transform.real ? part : complex_of(part), x.device());
  if (y.numel() == 0) return y;
  launch(op, is_complex(in.dtype()) ? view::as_real(in) : in, [&](auto device, auto type) {
    using T = decltype(type);
    if (direction == Direction::to_modes) {
      fourier_modes(device, transform, parts<T>(in), parts<T>(y));
    } else {
      fourier_field(device, transform, parts<T>(in), parts<T>(y));
    }
  });
  return y;
}

}  // namespace

Tensor fourier_modes(const Tensor& x, const std::vector<FourierAxis>& axes, double scale) {
  check("fourier_modes", x, axes, [](const FourierAxis& axis) { return axis.points; });
  FourierTransform transform{.count = 0, .axes = axes, .real = !is_complex(x.dtype()), .scale = scale};
  if (transform.real && axes.back().period == 0) refuse("fourier_modes", x, "the last axis of a real field must be transformed");
  return record("fourier_modes", transformed(x, transform, Direction::to_modes), {x}, [transform](const Tensor& dy, Wanted) {
    return std::vector{transformed(dy, transform, Direction::to_field)};  // each mode stands for itself: what is not stored has no gradient
  });
}

Tensor fourier_field(const Tensor& modes, const std::vector<FourierAxis>& axes, FieldNumbers numbers) {
  if (!is_complex(modes.dtype())) refuse("fourier_field", modes, "modes must be complex");
  check("fourier_field", modes, axes, [](const FourierAxis& axis) { return axis.modes; });
  FourierTransform transform{.count = 0, .axes = axes, .real = numbers == FieldNumbers::real, .conjugates = Conjugates::counted};
  if (transform.real && axes.back().period == 0) refuse("fourier_field", modes, "the last axis of a real field must be transformed");
  return record("fourier_field", transformed(modes, transform, Direction::to_field), {modes}, [transform](const Tensor& dy, Wanted) {
    return std::vector{transformed(dy, transform, Direction::to_modes)};
  });
}

}  // namespace trident
