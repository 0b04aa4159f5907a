#include "runtime/ops/fft.h"

#include <algorithm>

#include "runtime/autograd/tape.h"
#include "runtime/kernels/fft.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

Tensor resampled(const Tensor& x, std::int64_t rows, std::int64_t columns, double scale) {
  const Tensor in = packed(x);
  Shape shape = in.shape();
  const Resampling size{in.numel() / (x.size(-2) * x.size(-1)), x.size(-2), x.size(-1), rows, columns};
  shape[x.rank() - 2] = rows;
  shape[x.rank() - 1] = columns;
  const Tensor y = empty(shape, x.dtype(), x.device());
  launch("spectral_resample", in, [&](auto device, auto type) {
    using T = decltype(type);
    spectral_resample(device, size, static_cast<T>(scale), in.data<T>(), y.data<T>());
  });
  return y;
}

}  // namespace

Tensor spectral_resample(const Tensor& x, std::int64_t rows, std::int64_t columns) {
  constexpr std::int64_t kLargest = 1 << 20;  // points per side: sizes are handed to FFTW as int
  if (x.rank() < 2 || x.size(-2) < 1 || x.size(-1) < 1 || rows < 1 || columns < 1 ||
      std::max({x.size(-2), x.size(-1), rows, columns}) > kLargest) {
    throw ShapeError(concat("spectral_resample: ", to_string(x.shape()), " to ", rows, " x ", columns, "; fields have 1 to ", kLargest,
                            " points per side"));
  }
  if (x.size(-2) == rows && x.size(-1) == columns) return x;
  // The forward transform of norm "forward" is divided by the points of x; the adjoint runs the other way with the same factor.
  const std::int64_t ny = x.size(-2), nx = x.size(-1);
  const double scale = 1.0 / static_cast<double>(ny * nx);
  return record("spectral_resample", resampled(x, rows, columns, scale), {x},
                [=](const Tensor& dy, Wanted) { return std::vector{resampled(dy, ny, nx, scale)}; });
}

}  // namespace trident
