#include <gtest/gtest.h>

#include <functional>
#include <random>
#include <vector>

#include "runtime/kernels/elementwise.h"
#include "runtime/kernels/field_norm.h"
#include "runtime/kernels/gather.h"
#include "runtime/kernels/reduce.h"
#include "runtime/kernels/windows.h"
#include "runtime/ops/reduce.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"
#include "tests/support/on_gpu.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_near.h"

// Each family of kernels on a GPU against the same one on the CPU.
namespace trident {
namespace {

using testing::kGpu;
using testing::random_tensor;
class CudaKernels : public testing::OnGpu {};

constexpr std::int64_t kSizes[] = {0, 1, 7, 31, 33, 256, 1000, 5003};

/// Bounds on the difference in the 2-norm.
double bound(DType dtype) { return dtype == DType::f64 || dtype == DType::c128 ? 1e-12 : dtype == DType::bf16 ? 4e-3 : 1e-6; }

Tensor converted(const Tensor& x, DType dtype) {
  const Tensor y = empty(x.shape(), dtype, x.device());
  copy_into(y, x);
  return y;
}

/// Calls run(device, T{}, tensor on that device of a host tensor) on the CPU and on the GPU, in f32 and f64; the results must agree.
template <class Run>
void expect_equal_devices(const Shape& result, Run&& run) {
  for (const DType dtype : {DType::f32, DType::f64}) {
    const auto typed = [&](auto type) {
      using T = decltype(type);
      const Tensor expected = zeros(result, dtype), actual = full(result, 7.0, dtype, kGpu);
      run(
          Cpu{}, type, [&](const Tensor& x) { return is_floating(x.dtype()) ? converted(x, dtype) : x; }, expected);
      run(
          current_cuda("test", kGpu), type,
          [&](const Tensor& x) { return to_device(is_floating(x.dtype()) ? converted(x, dtype) : x, kGpu); }, actual);
      EXPECT_TENSOR_NEAR(to_device(actual, {}), expected, bound(dtype_of<T>));
    };
    if (dtype == DType::f32) typed(float{});
    if (dtype == DType::f64) typed(double{});
  }
}

constexpr UnaryMap kMaps[] = {
    {Unary::affine, 1.5, -0.25}, {Unary::relu},      {Unary::gelu}, {Unary::sigmoid},       {Unary::exponential},
    {Unary::minimum, 0.3},       {Unary::tanh},      {Unary::silu}, {Unary::elu, 1.2, 0.9}, {Unary::leaky_relu, 0.1},
    {Unary::softplus},           {Unary::power, 3.0}};

TEST_F(CudaKernels, FunctionsAndTheirGradientsAreThoseOfTheCpu) {
  for (const UnaryMap& map : kMaps) {
    for (const std::int64_t count : kSizes) {
      SCOPED_TRACE(::testing::Message() << "function " << static_cast<int>(map.kind) << ", " << count << " numbers");
      const Tensor x = random_tensor({count}, 1), slope = random_tensor({count}, 2);
      expect_equal_devices({count}, [&](auto device, auto type, auto place, const Tensor& y) {
        using T = decltype(type);
        unary(device, map, count, place(x).template data<T>(), y.data<T>());
      });
      expect_equal_devices({count}, [&](auto device, auto type, auto place, const Tensor& y) {
        using T = decltype(type);
        const Tensor at = place(x), dy = place(slope);
        unary_gradient(device, map, count, at.template data<T>(), dy.template data<T>(), y.data<T>());
      });
    }
  }
}

TEST_F(CudaKernels, FunctionsOfBf16AreRoundedOnce) {
  const Cuda cuda = current_cuda("test", kGpu);
  for (const UnaryMap& map : kMaps) {
    const Tensor x = converted(random_tensor({1003}, 3), DType::bf16), slope = converted(random_tensor({1003}, 4), DType::bf16);
    const Tensor gpu_x = to_device(x, kGpu), gpu_slope = to_device(slope, kGpu), y = empty_like(gpu_x), dx = empty_like(gpu_x);
    unary(cuda, map, 1003, gpu_x.data<bf16>(), y.data<bf16>());
    unary_gradient(cuda, map, 1003, gpu_x.data<bf16>(), gpu_slope.data<bf16>(), dx.data<bf16>());
    const Tensor wide_x = converted(x, DType::f32), wide_slope = converted(slope, DType::f32), wide_y = empty_like(wide_x),
                 wide_dx = empty_like(wide_x);
    unary(Cpu{}, map, 1003, wide_x.data<float>(), wide_y.data<float>());
    unary_gradient(Cpu{}, map, 1003, wide_x.data<float>(), wide_slope.data<float>(), wide_dx.data<float>());
    EXPECT_TENSOR_NEAR(converted(to_device(y, {}), DType::f32), wide_y, bound(DType::bf16)) << static_cast<int>(map.kind);
    EXPECT_TENSOR_NEAR(converted(to_device(dx, {}), DType::f32), wide_dx, bound(DType::bf16)) << static_cast<int>(map.kind);
  }
}

struct Shapes {
  Shape a, b;
};
const std::vector<Shapes> kPairs{{{1000}, {1000}},   {{7, 33}, {33}},   {{4, 1, 64}, {1, 5, 64}},
                                 {{16, 8}, {16, 1}}, {{3, 1}, {1, 40}}, {{2, 3, 5, 8}, {1}},
                                 {{0, 4}, {4}},      {{1}, {9, 1}},     {{64, 96}, {64, 96}}};

TEST_F(CudaKernels, PairsAreCombinedWithBroadcasting) {
  for (const Shapes& shapes : kPairs) {
    const Shape result = broadcast_shape("test", shapes.a, shapes.b);
    SCOPED_TRACE(to_string(shapes.a) + " " + to_string(shapes.b));
    const Tensor a = random_tensor(shapes.a, 5), b = random_tensor(shapes.b, 6);
    const BroadcastPair pair{result, view::broadcast_to(a, result).strides(), view::broadcast_to(b, result).strides()};
    for (const Binary kind : {Binary::add, Binary::subtract, Binary::multiply, Binary::divide}) {
      expect_equal_devices(result, [&](auto device, auto type, auto place, const Tensor& y) {
        using T = decltype(type);
        const Tensor left = place(a), right = place(b);
        binary(device, kind, pair, left.template data<T>(), right.template data<T>(), y.data<T>());
      });
    }
    const Tensor mask = converted(converted(random_tensor(shapes.b, 7), DType::i64), DType::boolean);
    const Shape mask_strides = view::broadcast_to(mask, result).strides();
    expect_equal_devices(result, [&](auto device, auto type, auto place, const Tensor& y) {
      using T = decltype(type);
      const Tensor left = place(a), right = place(b), choice = place(mask);
      select(device, pair, mask_strides, choice.template data<bool>(), left.template data<T>(), right.template data<T>(), y.data<T>());
    });
  }
}

TEST_F(CudaKernels, PairsOfComplexAndBf16NumbersAreCombined) {
  const Cuda cuda = current_cuda("test", kGpu);
  const Shape shape{12, 10};
  const BroadcastPair pair{shape, {10, 1}, {0, 1}};
  for (const Binary kind : {Binary::add, Binary::subtract, Binary::multiply, Binary::divide}) {
    const Tensor a = view::as_complex(random_tensor({12, 10, 2}, 8)), b = view::as_complex(random_tensor({10, 2}, 9));
    const Tensor expected = empty(shape, DType::c128), gpu_a = to_device(a, kGpu), gpu_b = to_device(b, kGpu), y = empty_like(gpu_a);
    binary(Cpu{}, kind, pair, a.data<c128>(), b.data<c128>(), expected.data<c128>());
    binary(cuda, kind, pair, gpu_a.data<c128>(), gpu_b.data<c128>(), y.data<c128>());
    EXPECT_TENSOR_NEAR(to_device(y, {}), expected, 1e-13);
    const Tensor c = converted(a, DType::c64), d = converted(b, DType::c64), gpu_c = to_device(c, kGpu), gpu_d = to_device(d, kGpu),
                 z = empty_like(gpu_c);
    binary(cuda, kind, pair, gpu_c.data<c64>(), gpu_d.data<c64>(), z.data<c64>());
    EXPECT_TENSOR_NEAR(to_device(z, {}), converted(expected, DType::c64), 1e-6);
    const Tensor e = converted(random_tensor(shape, 10), DType::bf16), f = converted(random_tensor({10}, 11), DType::bf16);
    const Tensor gpu_e = to_device(e, kGpu), gpu_f = to_device(f, kGpu), w = empty_like(gpu_e);
    binary(cuda, kind, pair, gpu_e.data<bf16>(), gpu_f.data<bf16>(), w.data<bf16>());
    const Tensor wide_e = converted(e, DType::f32), wide_f = converted(f, DType::f32), wide = empty_like(wide_e);
    binary(Cpu{}, kind, pair, wide_e.data<float>(), wide_f.data<float>(), wide.data<float>());
    EXPECT_TENSOR_NEAR(converted(to_device(w, {}), DType::f32), wide, bound(DType::bf16));
  }
}

TEST_F(CudaKernels, SumsAreThoseOfTheCpuAndTheSameEveryTime) {
  const std::vector<SumExtents> cases{{1, 1, 1},    {3, 1000, 1}, {2, 20000, 1}, {5, 33, 1}, {1, 700, 2},
                                      {2, 130, 96}, {3, 65, 300}, {4, 0, 5},     {0, 3, 4},  {1, 1025, 1}};
  for (const SumExtents& extents : cases) {
    SCOPED_TRACE(::testing::Message() << extents.outer << " " << extents.count << " " << extents.inner);
    const Tensor x = random_tensor({extents.outer, extents.count, extents.inner}, 12);
    std::vector<std::vector<double>> results;
    for (int run = 0; run < 2; ++run) {
      expect_equal_devices({extents.outer, extents.inner}, [&](auto device, auto type, auto place, const Tensor& y) {
        using T = decltype(type);
        const Tensor workspace = empty({sum_workspace(extents)}, DType::f64, y.device());
        sum_middle(device, extents, place(x).template data<T>(), workspace.data<double>(), y.data<T>());
        if (y.is_cuda()) results.push_back(to_host<double>(converted(y, DType::f64)));
      });
    }
    EXPECT_EQ(results[0], results[2]);
    EXPECT_EQ(results[1], results[3]);
  }
}

TEST_F(CudaKernels, ErrorsOfGroupsOfChannelsAreThoseOfTheCpu) {
  const std::vector<ChannelGroup> groups{{0, 1}, {1, 3}, {0, 4}, {2, 2}};
  for (const std::int64_t points : {1, 77, 9000}) {
    for (const int power : {1, 2}) {
      for (const bool with_b : {true, false}) {
        const ErrorExtents extents{3, 4, points, groups.data(), 4, power};
        const Tensor a = random_tensor({3, 4, points}, 13), b = random_tensor({3, 4, points}, 14), slope = random_tensor({4}, 15);
        expect_equal_devices({4}, [&](auto device, auto type, auto place, const Tensor& y) {
          using T = decltype(type);
          const Tensor left = place(a), right = place(b), workspace = empty({error_workspace(extents)}, DType::f64, y.device());
          error_sums(device, extents, left.template data<T>(), with_b ? right.template data<T>() : nullptr,
                     workspace.template data<double>(), y.data<T>());
        });
        expect_equal_devices({3, 4, points}, [&](auto device, auto type, auto place, const Tensor& y) {
          using T = decltype(type);
          const Tensor left = place(a), right = place(b), dsums = place(slope);
          error_sums_gradient(device, extents, left.template data<T>(), with_b ? right.template data<T>() : nullptr,
                              dsums.template data<T>(), y.data<T>());
        });
      }
    }
  }
}

TEST_F(CudaKernels, NumbersThatAreNotFiniteAreFound) {
  for (const double bad : {0.0, 1.0 / 0.0, -1.0 / 0.0, 0.0 / 0.0}) {
    std::vector<double> values(4099, 1.0);
    values[4097] = bad;
    const Tensor x = from_values<double>({4099}, values, kGpu), finite = empty({1}, DType::boolean, kGpu);
    all_finite(current_cuda("test", kGpu), 4099, x.data<double>(), finite.data<bool>());
    EXPECT_EQ(to_number(finite), bad == 0.0 ? 1.0 : 0.0);
    const Tensor narrow = converted(x, DType::f32);
    all_finite(current_cuda("test", kGpu), 4099, narrow.data<float>(), finite.data<bool>());
    EXPECT_EQ(to_number(finite), bad == 0.0 ? 1.0 : 0.0);
  }
}

TEST_F(CudaKernels, RowsAreGatheredAndTheirGradientsAdded) {
  std::mt19937_64 random(16);
  for (const auto& [rows, width, count] : std::vector<GatherExtents>{{5, 3, 40}, {1, 1, 1}, {9, 70, 700}, {40, 8, 3000}, {4, 2, 0}}) {
    std::vector<std::int64_t> places(static_cast<std::size_t>(count));
    for (std::int64_t& place : places) place = static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(rows));
    const Tensor index = from_values<std::int64_t>({count}, places), table = random_tensor({rows, width}, 17),
                 slope = random_tensor({count, width}, 18);
    const GatherExtents extents{rows, width, count};
    expect_equal_devices({count, width}, [&](auto device, auto type, auto place, const Tensor& y) {
      using T = decltype(type);
      const Tensor from = place(table), at = place(index);
      gather_rows(device, extents, from.template data<T>(), at.template data<std::int64_t>(), y.data<T>());
    });
    expect_equal_devices({rows, width}, [&](auto device, auto type, auto place, const Tensor& y) {
      using T = decltype(type);
      const Tensor dy = place(slope), at = place(index), order = empty({rows + 1 + count}, DType::i64, y.device());
      gather_rows_gradient(device, extents, dy.template data<T>(), at.template data<std::int64_t>(), order.template data<std::int64_t>(),
                           y.data<T>());
    });
  }
}

TEST_F(CudaKernels, IndicesOutsideOfATableMakeNumbersThatAreNone) {
  const Tensor table = full({2, 2}, 1.0, DType::f32, kGpu),
               index = from_values<std::int64_t>({3}, std::vector<std::int64_t>{1, 2, -1}, kGpu);
  const Tensor y = empty({3, 2}, DType::f32, kGpu);
  gather_rows(current_cuda("test", kGpu), {2, 2, 3}, table.data<float>(), index.data<std::int64_t>(), y.data<float>());
  const auto values = to_host<float>(y);
  EXPECT_EQ(values[0], 1.0F);
  for (std::size_t i = 2; i < 6; ++i) EXPECT_NE(values[i], values[i]);
}

TEST_F(CudaKernels, DropoutKeepsTheElementsThatTheCpuKeeps) {
  const DropoutPlaces places{
      .tokens = 50, .width = 37, .rows = 4, .columns = 5, .first = 7, .origin = 11, .sample_step = 400, .row_step = 20};
  const Tensor x = random_tensor({50, 37}, 19);
  expect_equal_devices({50, 37}, [&](auto device, auto type, auto place, const Tensor& y) {
    using T = decltype(type);
    dropout(device, places, 0.3, RandomKey(20).fold("call"), place(x).template data<T>(), y.data<T>());
  });
}

TEST_F(CudaKernels, WindowsAreCutOutAndTheirGradientsPutBack) {
  constexpr std::int64_t kSamples = 3, kChannels = 2, kNy = 9, kNx = 7, kUnits = 4, kLevels = 2, kRows = 5, kColumns = 6;
  std::mt19937_64 random(21);
  std::vector<std::int64_t> rows(kLevels * kUnits * kRows), columns(kLevels * kUnits * kColumns);
  for (std::int64_t& row : rows) row = static_cast<std::int64_t>(random() % (kNy + 1)) - 1;
  for (std::int64_t& column : columns) column = static_cast<std::int64_t>(random() % (kNx + 1)) - 1;
  const Tensor sample = from_values<std::int64_t>({kUnits}, std::vector<std::int64_t>{0, 0, 2, 2});
  const Tensor row_index = from_values<std::int64_t>({kLevels * kUnits * kRows}, rows);
  const Tensor column_index = from_values<std::int64_t>({kLevels * kUnits * kColumns}, columns);
  const Tensor x = random_tensor({kSamples, kChannels, kNy, kNx}, 22),
               slope = random_tensor({kUnits, kLevels * kChannels, kRows, kColumns}, 23);
  const auto extents = [&](const Tensor& of, const Tensor& row, const Tensor& column) {
    return WindowExtents{kSamples,
                         kChannels,
                         kNy,
                         kNx,
                         kUnits,
                         kLevels,
                         kRows,
                         kColumns,
                         of.data<std::int64_t>(),
                         row.data<std::int64_t>(),
                         column.data<std::int64_t>()};
  };
  expect_equal_devices(slope.shape(), [&](auto device, auto type, auto place, const Tensor& y) {
    using T = decltype(type);
    const Tensor of = place(sample), row = place(row_index), column = place(column_index);
    gather_windows(device, extents(of, row, column), place(x).template data<T>(), y.data<T>());
  });
  expect_equal_devices(x.shape(), [&](auto device, auto type, auto place, const Tensor& y) {
    using T = decltype(type);
    const Tensor of = place(sample), row = place(row_index), column = place(column_index);
    gather_windows_gradient(device, extents(of, row, column), place(slope).template data<T>(), y.data<T>());
  });
}

TEST_F(CudaKernels, SumsOfPowersAndTheirGradientsAreThoseOfTheCpu) {
  for (const double power : {1.0, 2.0, 3.5}) {
    for (const std::int64_t points : {0, 1, 100, 3001}) {
      const PowerExtents extents{3, points, power};
      const Tensor x = random_tensor({3, points}, 24), slope = random_tensor({3}, 25);
      expect_equal_devices({3}, [&](auto device, auto type, auto place, const Tensor& y) {
        using T = decltype(type);
        power_sums(device, extents, place(x).template data<T>(), y.data<T>());
      });
      expect_equal_devices({3, points}, [&](auto device, auto type, auto place, const Tensor& y) {
        using T = decltype(type);
        const Tensor at = place(x), dsums = place(slope);
        power_sums_gradient(device, extents, at.template data<T>(), dsums.template data<T>(), y.data<T>());
      });
    }
  }
}

TEST_F(CudaKernels, SobolevSumsAndTheirGradientsAreThoseOfTheCpu) {
  const std::vector<std::vector<std::int64_t>> grids{{1}, {2}, {9}, {2049}, {5, 8}, {1, 6}, {47, 53}, {3, 4, 5}, {16, 16, 17}};
  for (const auto& grid : grids) {
    for (const bool with_faces : {false, true}) {
      SobolevExtents extents{2, static_cast<int>(grid.size()), {}, {}};
      std::int64_t points = 1;
      for (std::size_t k = 0; k < grid.size(); ++k) {
        extents.points[k] = grid[k];
        extents.spacing[k] = 0.1 * static_cast<double>(k + 1);
        points *= grid[k];
      }
      SCOPED_TRACE(::testing::Message() << points << " points, " << grid.size() << " axes, faces " << with_faces);
      const Tensor x = random_tensor({2, points}, 26), slope = random_tensor({2}, 27), sides = random_tensor({3, 2, 2, points}, 28);
      // The faces of the last axis, whichever there are; the others are periodic.
      const std::size_t axis = grid.size() - 1;
      const std::int64_t face = 2 * points / grid[axis];
      const auto faces = [&](auto* values) {
        Faces<std::remove_pointer_t<decltype(values)>> result;
        if (with_faces) {
          result.before[axis] = values;
          result.after[axis] = values + face;
        }
        return result;
      };
      expect_equal_devices({2}, [&](auto device, auto type, auto place, const Tensor& y) {
        using T = decltype(type);
        const Tensor at = place(x), side = place(sides), workspace = empty({2 * (extents.axes + 1)}, DType::f64, y.device());
        sobolev_sums(device, extents, at.template data<T>(), faces(static_cast<const T*>(side.template data<T>())),
                     workspace.template data<double>(), y.data<T>());
      });
      const std::int64_t count = 2 * points;
      expect_equal_devices({count + 2 * face}, [&](auto device, auto type, auto place, const Tensor& y) {
        using T = decltype(type);
        const Tensor at = place(x), side = place(sides), dsums = place(slope);
        set_zero(y);
        sobolev_sums_gradient(device, extents, at.template data<T>(), faces(static_cast<const T*>(side.template data<T>())),
                              dsums.template data<T>(), y.data<T>(), faces(y.data<T>() + count));
      });
    }
  }
}

}  // namespace
}  // namespace trident
