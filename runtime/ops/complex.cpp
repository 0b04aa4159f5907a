#include "runtime/ops/complex.h"

#include "runtime/autograd/tape.h"
#include "runtime/error.h"
#include "runtime/ops/elementwise.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

/// Real or imaginary parts: every second number of the pairs.
Tensor part_of(const char* op, const Tensor& z, std::int64_t offset) {
  if (!is_complex(z.dtype()))
    throw ShapeError(concat(op, ": x ", to_string(z.shape()), " is ", name_of(z.dtype()), "; it must be complex"));
  Shape strides = z.strides();
  for (std::int64_t& stride : strides) stride *= 2;
  return Tensor(z.storage(), 2 * z.offset() + offset, z.shape(), strides, z.dtype() == DType::c128 ? DType::f64 : DType::f32);
}

/// Zeros but for one of the two parts.
Tensor with_part(const Tensor& part, std::int64_t offset) {
  const Tensor z = zeros(part.shape(), part.dtype() == DType::f64 ? DType::c128 : DType::c64, part.device());
  copy_into(part_of("complex", z, offset), part);
  return z;
}

}  // namespace

Tensor complex(const Tensor& re, const Tensor& im) {
  if (re.shape() != im.shape() || re.dtype() != im.dtype() || (re.dtype() != DType::f32 && re.dtype() != DType::f64)) {
    throw ShapeError(concat("complex: the parts are ", name_of(re.dtype()), " ", to_string(re.shape()), " and ", name_of(im.dtype()), " ",
                            to_string(im.shape()), "; they must be alike, f32 or f64"));
  }
  const Tensor z = empty(re.shape(), re.dtype() == DType::f64 ? DType::c128 : DType::c64, re.device());
  copy_into(part_of("complex", z, 0), re);
  copy_into(part_of("complex", z, 1), im);
  return record("complex", z, {re, im}, [](const Tensor& dz, Wanted) {
    return std::vector{part_of("complex", dz, 0), part_of("complex", dz, 1)};
  });
}

Tensor real(const Tensor& z) {
  return record("real", part_of("real", z, 0), {z}, [](const Tensor& dy, Wanted) { return std::vector{with_part(dy, 0)}; });
}

Tensor imag(const Tensor& z) {
  return record("imag", part_of("imag", z, 1), {z}, [](const Tensor& dy, Wanted) { return std::vector{with_part(dy, 1)}; });
}

Tensor conjugate(const Tensor& z) {
  const Tensor y = empty_like(z);
  copy_into(part_of("conjugate", y, 0), part_of("conjugate", z, 0));
  copy_into(part_of("conjugate", y, 1), affine(part_of("conjugate", z, 1), -1.0));
  return record("conjugate", y, {z}, [](const Tensor& dy, Wanted) { return std::vector{conjugate(dy)}; });
}

Tensor magnitude(const Tensor& z) {
  const Tensor re = real(z), im = imag(z);
  return power(re * re + im * im, 0.5);
}

}  // namespace trident
