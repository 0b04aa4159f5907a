/// The one place that knows which devices and number types kernels exist for.
#pragma once

#include <type_traits>

#include "runtime/device/device.h"
#include "runtime/error.h"
#include "runtime/tensor/tensor.h"

namespace trident {

/// Tags that choose a kernel's overload. Both overloads are always declared; only those of the built devices are defined.
struct Cpu {};
struct Cuda {
  void* stream;   // cudaStream_t
  int index = 0;  // of the device
};

/// The current stream of a GPU. Throws DeviceError, beginning with `op`, where there is no such GPU.
Cuda current_cuda(const char* op, Device device);

/// Calls launch(device) with the tag of `device`; where work is only counted there is nothing to do.
template <class Launch>
void on_device(const char* op, Device device, Launch&& launch) {
  if (device.counted) return;
  if (device.kind == Device::Kind::cpu) return launch(Cpu{});
  [[maybe_unused]] const Cuda cuda = current_cuda(op, device);
  if constexpr (build::kHasCuda) launch(cuda);
}

template <class Launch>
void on_device_of(const char* op, const Tensor& x, Launch&& launch) {
  on_device(op, x.device(), launch);
}

/// Calls launch(device, T{}) with the device and the number type of x: f32 or f64.
template <class Launch>
void launch(const char* op, const Tensor& x, Launch&& kernel) {
  on_device_of(op, x, [&](auto device) {
    if (x.dtype() == DType::f32) return kernel(device, float{});
    if (x.dtype() == DType::f64) return kernel(device, double{});
    throw ShapeError(concat(op, ": computes in f32 and f64, got ", name_of(x.dtype()), "; convert it with cast()"));
  });
}

/// As launch(), for operations that compute on activations of bf16 too, on a GPU.
template <class Launch>
void launch_activations(const char* op, const Tensor& x, Launch&& kernel) {
  if (x.dtype() != DType::bf16) return launch(op, x, kernel);
  on_device_of(op, x, [&]([[maybe_unused]] auto device) {
    if constexpr (std::is_same_v<decltype(device), Cuda>) {
      kernel(device, bf16{});
    } else {
      throw ShapeError(concat(op, ": computes in bf16 on CUDA devices alone; convert to f32 with cast()"));
    }
  });
}

/// Calls launch(device, T{}) with the device and the number type of x: f32, f64, c64 or c128.
template <class Launch>
void launch_numbers(const char* op, const Tensor& x, Launch&& kernel) {
  on_device_of(op, x, [&](auto device) {
    if (x.dtype() == DType::f32) return kernel(device, float{});
    if (x.dtype() == DType::f64) return kernel(device, double{});
    if (x.dtype() == DType::c64) return kernel(device, c64{});
    if (x.dtype() == DType::c128) return kernel(device, c128{});
    throw ShapeError(concat(op, ": computes in f32, f64, c64 and c128, got ", name_of(x.dtype()), "; convert it with cast()"));
  });
}

}  // namespace trident
