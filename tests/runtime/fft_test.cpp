#include "runtime/ops/fft.h"

#include <cmath>
#include <fstream>
#include <numbers>

#include "runtime/device/threads.h"
#include "runtime/error.h"
#include "runtime/ops/elementwise.h"
#include "runtime/tensor/create.h"
#include "tests/support/gradcheck.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_near.h"

namespace trident {
namespace {

using testing::gradcheck_on_every_device;
using testing::random_tensor;

/// cos(2 pi (a y + b x) + phase) on a grid of the unit square.
Tensor wave(std::int64_t rows, std::int64_t columns, int a, int b, double phase) {
  std::vector<double> values;
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < columns; ++j) {
      const double y = static_cast<double>(i) / static_cast<double>(rows), x = static_cast<double>(j) / static_cast<double>(columns);
      values.push_back(std::cos(2 * std::numbers::pi * (a * y + b * x) + phase));
    }
  }
  return from_values({rows, columns}, values);
}

TEST(SpectralResample, MovesAWaveToAnyGridThatHoldsIt) {
  for (const auto& [rows, columns] : {std::pair{8, 8}, {7, 16}, {16, 7}, {9, 9}, {32, 12}}) {
    EXPECT_TENSOR_NEAR(spectral_resample(wave(11, 10, 2, -3, 0.4), rows, columns), wave(rows, columns, 2, -3, 0.4), 1e-14);
  }
}

TEST(SpectralResample, DropsWavesThatTheGridDoesNotHold) {
  EXPECT_TENSOR_NEAR(affine(spectral_resample(wave(16, 16, 5, 1, 0.4), 8, 8), 1.0, 1.0), full({8, 8}, 1.0, DType::f64), 1e-14);
}

TEST(SpectralResample, AgreesWithTheReference) {
  std::ifstream file(TRIDENT_GOLDEN_FOLDER "/fft/spectral_resample.txt");
  std::int64_t batch, channels, rows, new_rows;
  int cases = 0;
  for (; file >> batch >> channels >> rows >> new_rows; ++cases) {
    const auto read = [&](std::int64_t points) {
      std::vector<double> values(static_cast<std::size_t>(batch * channels * points * points));
      for (double& value : values) file >> value;
      return from_values({batch, channels, points, points}, values);
    };
    const Tensor x = read(rows), expected = read(new_rows);
    EXPECT_TENSOR_NEAR(spectral_resample(x, new_rows, new_rows), expected, 1e-14);
    EXPECT_TENSOR_NEAR(spectral_resample(cast(x, DType::f32), new_rows, new_rows), cast(expected, DType::f32), 1e-6);
  }
  EXPECT_EQ(cases, 6);
}

TEST(SpectralResample, Gradients) {
  for (const auto& [rows, columns] : {std::pair{4, 4}, {8, 8}, {3, 9}, {9, 3}, {5, 6}}) {
    EXPECT_TRUE(
        gradcheck_on_every_device([rows = rows, columns = columns](const auto& in) { return spectral_resample(in[0], rows, columns); },
                                  {random_tensor({2, 5, 6}, 1)}));
  }
}

TEST(SpectralResample, FieldsAreIndependentOfTheNumberOfThreads) {
  const int before = num_threads();
  const Tensor x = random_tensor({5, 3, 24, 24}, 1, DType::f32);
  set_num_threads(1);
  const Tensor y = spectral_resample(x, 16, 16);
  set_num_threads(3);
  EXPECT_TENSOR_NEAR(spectral_resample(x, 16, 16), y, 0);
  set_num_threads(before);
}

TEST(SpectralResample, TheSameGridIsLeftAlone) {
  const Tensor x = random_tensor({3, 4}, 1);
  EXPECT_EQ(spectral_resample(x, 3, 4).data<double>(), x.data<double>());
}

TEST(SpectralResample, WhatIsNoGridIsRefused) {
  EXPECT_THROW(spectral_resample(zeros({4}, DType::f32), 2, 2), ShapeError);
  EXPECT_THROW(spectral_resample(zeros({4, 4}, DType::f32), 0, 2), ShapeError);
  EXPECT_THROW(spectral_resample(zeros({0, 4}, DType::f32), 2, 2), ShapeError);
}

}  // namespace
}  // namespace trident
