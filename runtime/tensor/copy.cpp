#include "runtime/tensor/copy.h"

#include <type_traits>

#include "runtime/device/cuda_device.h"
#include "runtime/device/cuda_driver.h"
#include "runtime/device/launch_only.h"
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

/// Within one device.
void copy_here(const Tensor& target, const Tensor& source) {
  on_device("copy", target.device(), [&](auto device) {
    const auto copy = [&](auto to, auto from) {
      strided_copy(device, pair_of(target, source), target.data<decltype(to)>(), source.data<decltype(from)>());
    };
    if (is_complex(target.dtype())) {
      return visit_complex(target.dtype(), [&](auto to) { visit_complex(source.dtype(), [&](auto from) { copy(to, from); }); });
    }
    visit_real("copy", target.dtype(), [&](auto to) { visit_real("copy", source.dtype(), [&](auto from) { copy(to, from); }); });
  });
}

/// The bytes of contiguous tensors of one number type on different devices.
void move_bytes(const Tensor& target, const Tensor& source) {
  if constexpr (build::kHasCuda) {
    const auto bytes = static_cast<std::size_t>(source.num_bytes());
    if (source.is_cuda() && target.is_cuda()) {
      CudaStream &from = current_stream(source.device()), &to = current_stream(target.device());
      order_after(to, from);
      cuda_driver::use_device(target.device().index);
      cuda_driver::copy(target.bytes(), source.bytes(), bytes, to.handle());
      return order_after(from, to);
    }
    const Tensor& on_host = source.is_cuda() ? target : source;
    CudaStream& stream = current_stream(source.is_cuda() ? source.device() : target.device());
    const bool pinned = cuda_driver::is_pinned(on_host.bytes());
    if (!pinned) require_waiting_allowed("copy between the host and a GPU");
    cuda_driver::copy(target.bytes(), source.bytes(), bytes, stream.handle());
    if (!pinned) stream.synchronize();
  }
}

void copy_between_devices(const Tensor& target, const Tensor& source) {
  require_device("copy", source.device());
  require_device("copy", target.device());
  if (source.numel() == 0 || target.device().counted) return;
  if (source.device().counted) return set_zero(target);  // what was not computed reads as 0
  Tensor packed_source = source;
  if (!source.is_contiguous() || source.dtype() != target.dtype()) {
    packed_source = empty(source.shape(), target.dtype(), source.device());
    copy_here(packed_source, source);
  }
  if (target.is_contiguous()) return move_bytes(target, packed_source);
  const Tensor arrived = empty(target.shape(), target.dtype(), target.device());
  move_bytes(arrived, packed_source);
  copy_here(target, arrived);
}

}  // namespace

void copy_into(const Tensor& target, const Tensor& source) {
  require_same_shape("copy", target, source);
  if (is_complex(target.dtype()) != is_complex(source.dtype())) {
    throw ShapeError(concat("copy: ", name_of(source.dtype()), " into ", name_of(target.dtype()), "; real and complex do not convert"));
  }
  if (target.device() != source.device()) return copy_between_devices(target, source);
  copy_here(target, source);
}

void add_into(const Tensor& target, const Tensor& source) {
  require_same_shape("add_into", target, source);
  if (target.device() != source.device()) {
    throw DeviceError(concat("add_into: target is on ", to_string(target.device()), ", source on ", to_string(source.device())));
  }
  on_device("add_into", target.device(), [&](auto device) {
    const auto add = [&](auto type) {
      strided_add(device, pair_of(target, source), target.data<decltype(type)>(), source.data<decltype(type)>());
    };
    if (is_complex(target.dtype())) return visit_complex(target.dtype(), add);
    if (target.dtype() == DType::f32) return add(float{});
    if (target.dtype() == DType::f64) return add(double{});
    if constexpr (std::is_same_v<decltype(device), Cuda>) {
      if (target.dtype() == DType::bf16) return add(bf16{});
    }
    throw ShapeError(concat("add_into: adds f32, f64, complex numbers and, on a GPU, bf16; got ", name_of(target.dtype())));
  });
}

Tensor packed(const Tensor& x) {
  if (x.is_contiguous()) return x.detached();
  Tensor y = empty_like(x);
  copy_into(y, x);
  return y;
}

Tensor to_device(const Tensor& x, Device device) {
  if (x.device() == device) return x.detached();
  Tensor y = empty(x.shape(), x.dtype(), device);
  copy_into(y, x);
  return y;
}

}  // namespace trident
