#include "runtime/tensor/copy.h"

#include "runtime/error.h"
#include "runtime/kernels/strided_copy.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

template <class Visit>
void visit_real(const char* op, DType dtype, Visit&& visit) {
  switch (dtype) {
    case DType::f32:
      return visit(float{});
    case DType::f64:
      return visit(double{});
    case DType::bf16:
      return visit(bf16{});
    case DType::f16:
      return visit(f16{});
    case DType::i64:
      return visit(std::int64_t{});
    case DType::i32:
      return visit(std::int32_t{});
    case DType::boolean:
      return visit(bool{});
    default:
      throw ShapeError(concat(op, ": no conversion to or from ", name_of(dtype)));
  }
}

template <class Visit>
void visit_complex(DType dtype, Visit&& visit) {
  if (dtype == DType::c64) return visit(c64{});
  visit(c128{});
}

void require_same_shape(const char* op, const Tensor& target, const Tensor& source) {
  if (target.shape() != source.shape()) {
    throw ShapeError(concat(op, ": target ", to_string(target.shape()), " and source ", to_string(source.shape()), " differ"));
  }
}

StridedPair pair_of(const Tensor& target, const Tensor& source) { return {target.shape(), target.strides(), source.strides()}; }

}  // namespace

void copy_into(const Tensor& target, const Tensor& source) {
  require_same_shape("copy", target, source);
  if (is_complex(target.dtype()) != is_complex(source.dtype())) {
    throw ShapeError(concat("copy: ", name_of(source.dtype()), " into ", name_of(target.dtype()), "; real and complex do not convert"));
  }
  on_device_of("copy", target, [&](auto device) {
    const auto copy = [&](auto to, auto from) {
      strided_copy(device, pair_of(target, source), target.data<decltype(to)>(), source.data<decltype(from)>());
    };
    if (is_complex(target.dtype())) {
      return visit_complex(target.dtype(), [&](auto to) { visit_complex(source.dtype(), [&](auto from) { copy(to, from); }); });
    }
    visit_real("copy", target.dtype(), [&](auto to) { visit_real("copy", source.dtype(), [&](auto from) { copy(to, from); }); });
  });
}

void add_into(const Tensor& target, const Tensor& source) {
  require_same_shape("add_into", target, source);
  on_device_of("add_into", target, [&](auto device) {
    const auto add = [&](auto type) {
      strided_add(device, pair_of(target, source), target.data<decltype(type)>(), source.data<decltype(type)>());
    };
    if (is_complex(target.dtype())) return visit_complex(target.dtype(), add);
    if (target.dtype() == DType::f32) return add(float{});
    if (target.dtype() == DType::f64) return add(double{});
    throw ShapeError(concat("add_into: adds f32, f64 and complex numbers, got ", name_of(target.dtype())));
  });
}

Tensor packed(const Tensor& x) {
  if (x.is_contiguous()) return x.detached();
  Tensor y = empty_like(x);
  copy_into(y, x);
  return y;
}

}  // namespace trident
