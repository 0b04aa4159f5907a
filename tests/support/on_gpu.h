/// Tests of the kernels for CUDA: on a GPU, or on the emulated device where a build has it and the environment asks for it.
#pragma once

#include <gtest/gtest.h>

#include "runtime/device/cuda_device.h"

namespace trident::testing {

inline constexpr Device kGpu{Device::Kind::cuda, 0};

/// Whether its memory is the host's, so that MPI of any kind reaches it.
inline bool is_emulated(Device device) { return device_properties(device).name == "emulated device"; }

/// Skips its tests where there is no device: they are never counted as passed.
class OnGpu : public ::testing::Test {
 protected:
  void SetUp() override {
    if (cuda_device_count() == 0) GTEST_SKIP() << "no CUDA device";
  }
};

}  // namespace trident::testing
