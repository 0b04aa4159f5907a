#include "launch/device_choice.h"

#include <iostream>

#include "runtime/device/cuda_device.h"
#include "runtime/error.h"

namespace trident {

Device device_of_rank(DeviceChoice choice, CommandContext& context) {
  if (choice == DeviceChoice::cpu) return {};
  if constexpr (!build::kHasCuda) {
    throw ConfigError("device: cuda is asked for, but this build has no CUDA; set device: cpu, or configure with --preset cuda");
  } else {
    const int devices = cuda_device_count(), ranks = context.session.host().size(), rank = context.session.host().rank();
    if (devices == 0) {
      throw ConfigError(concat("device: cuda is asked for, but this host has no CUDA device", cuda_problem(),
                               "; look at nvidia-smi and CUDA_VISIBLE_DEVICES, or set device: cpu"));
    }
    if (ranks > devices && rank == 0) {
      std::cerr << concat("device: ", ranks, " ranks of this host share ", devices, devices == 1 ? " GPU" : " GPUs", "\n");
    }
    const Device device{Device::Kind::cuda, rank % devices};
    const std::string exchange = context.session.use_device(device);
    if (!exchange.empty() && context.session.world()->rank() == 0)
      std::cerr << concat("device: tensors travel between GPUs ", exchange, "\n");
    return device;
  }
}

Computing computing_of(CommandContext& context) {
  const DeviceChoice choice = context.common.device.value_or(DeviceChoice::cpu);
  const Precision precision = context.common.precision.value_or(Precision::f32);
  if (precision == Precision::bf16 && choice == DeviceChoice::cpu)
    throw ConfigError("--precision: bf16 needs --device cuda; take f32 or f64");
  return {dtype_of_precision(precision), device_of_rank(choice, context)};
}

}  // namespace trident
