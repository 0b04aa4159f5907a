#include <gtest/gtest.h>

#include <array>

#include "runtime/kernels/batch_norm.h"
#include "runtime/kernels/channel_mix.h"
#include "runtime/kernels/fft.h"
#include "runtime/kernels/fourier.h"
#include "runtime/kernels/group_norm.h"
#include "runtime/kernels/mode_product.h"
#include "runtime/kernels/strided_product.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "tests/runtime/packed_mode_product.h"
#include "tests/support/on_gpu.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_near.h"

// The kernels of Fourier operators, and of the norms around them, on a CUDA device, against those of the CPU.
namespace trident {
namespace {

using testing::kGpu;

template <class T>
class CudaSpectral : public testing::OnGpu {
 protected:
  static constexpr double kTolerance = sizeof(T) == 8 ? 1e-12 : 2e-6;

  static Tensor random(std::int64_t numbers, int seed) {
    return testing::random_tensor({numbers}, static_cast<std::uint64_t>(seed), dtype_of<T>);
  }

  /// Calls kernel(device, inputs, outputs) on both devices; outputs of these sizes must agree.
  template <class Kernel>
  static void expect_same(const std::vector<Tensor>& inputs, const std::vector<std::int64_t>& sizes, const Kernel& kernel) {
    std::vector<Tensor> inputs_there, here, there;
    for (const Tensor& input : inputs) inputs_there.push_back(to_device(input, kGpu));
    for (const std::int64_t size : sizes) {
      here.push_back(full({size}, 0.25, dtype_of<T>));
      there.push_back(to_device(here.back(), kGpu));
    }
    kernel(Cpu{}, inputs, here);
    kernel(Cuda{current_stream(kGpu).handle()}, inputs_there, there);
    for (std::size_t i = 0; i < sizes.size(); ++i) EXPECT_TENSOR_NEAR(to_device(there[i], Device{}), here[i], kTolerance) << "output " << i;
  }
};

using Types = ::testing::Types<float, double>;
TYPED_TEST_SUITE(CudaSpectral, Types);

template <class T>
std::complex<T>* complexes(const Tensor& x) {
  return reinterpret_cast<std::complex<T>*>(x.data<T>());
}

TYPED_TEST(CudaSpectral, FourierTransformsAreThoseOfTheCpu) {
  using T = TypeParam;
  const std::vector<FourierTransform> transforms{
      {3, {{20, 0, 20, 0, 7}}, true, Conjugates::counted, 0.5},
      {5, {{12, 0, 12, -3, 6}, {10, 0, 10, 0, 6}}, true, Conjugates::ignored, 0.25},
      {2, {{24, 8, 9, -5, 11}, {70, 3, 66, 0, 36}}, true, Conjugates::counted, 2.0},  // a part of the grid
      {2, {{9, 0, 9, -4, 9}, {11, 0, 11, -2, 5}}, false, Conjugates::ignored, 1.0},
      {2, {{8, 0, 8, -4, 8}, {0, 0, 3, 0, 0}, {10, 0, 10, 0, 4}}, true, Conjugates::counted, 1.0},  // an axis left as it is
      {2, {{8, 0, 8, -4, 8}, {0, 0, 3, 0, 0}}, false, Conjugates::ignored, 3.0},
      {2, {{0, 0, 8, 0, 0}, {0, 0, 3, 0, 0}}, false, Conjugates::ignored, 1.0},
      {2, {{8, 0, 0, -4, 8}, {10, 0, 10, 0, 4}}, true, Conjugates::ignored, 1.0},  // nothing to add up
      {0, {{12, 0, 12, -3, 6}, {10, 0, 10, 0, 6}}, true, Conjugates::ignored, 0.25}};
  for (const FourierTransform& transform : transforms) {
    std::int64_t field = transform.count * (transform.real ? 1 : 2), modes = 2 * transform.count;
    for (const FourierAxis& axis : transform.axes) field *= axis.points, modes *= axis.period == 0 ? axis.points : axis.modes;
    this->expect_same({this->random(field, 1), this->random(modes, 2)}, {modes, field}, [&](auto device, const auto& in, const auto& out) {
      fourier_modes(device, transform, in[0].template data<T>(), out[0].template data<T>());
      fourier_field(device, transform, in[1].template data<T>(), out[1].template data<T>());
    });
  }
}

TYPED_TEST(CudaSpectral, ProductsAtModesAreThoseOfTheCpu) {
  using T = TypeParam;
  using Sizes = std::array<std::int64_t, 4>;
  for (const auto [m, n, k, modes] :
       {Sizes{1, 1, 1, 1}, {2, 3, 4, 33}, {9, 34, 5, 70}, {16, 5, 7, 31}, {3, 0, 2, 5}, {5, 6, 0, 4}, {4, 33, 2, 40}}) {
    for (const unsigned signs : {0U, 1U, 2U, 3U, 7U}) {
      const ModeProduct size = testing::packed_mode_product(m, n, k, modes, signs);
      this->expect_same({this->random(2 * m * k * modes, 1), this->random(2 * n * k * modes, 2)}, {2 * m * n * modes},
                        [&](auto device, const auto& in, const auto& out) {
                          mode_product(device, size, complexes<T>(in[0]), complexes<T>(in[1]), complexes<T>(out[0]));
                        });
    }
  }
}

TYPED_TEST(CudaSpectral, ProductsOfAnyStridesAreThoseOfTheCpu) {
  using T = TypeParam;
  using Sizes = std::array<std::int64_t, 3>;
  constexpr std::int64_t kApart = 3, kAdding = 2;
  for (const auto [m, n, k] : {Sizes{1, 1, 1}, {70, 20, 9}, {5, 40, 33}, {67, 66, 17}, {3, 0, 4}, {13, 9, 200}, {5, 7, 400}}) {
    for (const unsigned turned : {0U, 1U, 2U, 3U}) {  // a or b with its columns apart
      const bool a = (turned & 1U) != 0, b = (turned & 2U) != 0;
      const StridedProduct size{.m = m,
                                .n = n,
                                .k = k,
                                .a_m = a ? 1 : k,
                                .a_k = a ? m : 1,
                                .b_k = b ? 1 : n,
                                .b_n = b ? k : 1,
                                .c_m = n,
                                .loops = {{{kAdding, m * k, k * n, 0}, {kApart, kAdding * m * k, kAdding * k * n, m * n}}},
                                .conjugate_a = a,
                                .conjugate_b = a != b};
      this->expect_same({this->random(2 * kApart * kAdding * m * k, 1), this->random(2 * kApart * kAdding * k * n, 2)},
                        {2 * kApart * m * n}, [&](auto device, const auto& in, const auto& out) {
                          strided_product(device, size, complexes<T>(in[0]), complexes<T>(in[1]), complexes<T>(out[0]));
                        });
    }
  }
}

TYPED_TEST(CudaSpectral, ResamplingIsThatOfTheCpu) {
  using T = TypeParam;
  for (const Resampling& size : {Resampling{3, 8, 10, 12, 7}, {2, 9, 9, 4, 18}, {1, 16, 16, 5, 5}, {2, 1, 4, 3, 3}, {0, 4, 4, 8, 8}}) {
    this->expect_same({this->random(size.fields * size.rows * size.columns, 1)}, {size.fields * size.new_rows * size.new_columns},
                      [&](auto device, const auto& in, const auto& out) {
                        spectral_resample(device, size, T(0.3), in[0].template data<T>(), out[0].template data<T>());
                      });
  }
}

TYPED_TEST(CudaSpectral, ChannelMixesAreThoseOfTheCpu) {
  using T = TypeParam;
  for (const MixSize& size :
       {MixSize{2, 3, 5, 7, true}, {1, 33, 70, 130, false}, {3, 4, 2, 1100, true}, {0, 3, 4, 5, true}, {2, 3, 4, 0, false}}) {
    const std::int64_t fields = size.batch * size.in * size.points, results = size.batch * size.out * size.points;
    for (const unsigned parts : {0U, 1U, 2U, 3U}) {
      const bool bias = (parts & 1U) != 0, addend = parts >= 2, gate = parts == 3;
      this->expect_same(
          {this->random(fields, 1), this->random(size.out * size.in, 2), this->random(size.out, 3), this->random(results, 4),
           this->random(size.out, 5), this->random(results, 6)},
          {results, size.gelu ? results : 0, fields, size.out * size.in, bias ? size.out : 0, addend ? results : 0, gate ? size.out : 0},
          [&](auto device, const auto& in, const auto& out) {
            const auto at = [](const Tensor& x) { return x.numel() == 0 ? nullptr : x.template data<T>(); };
            const MixOperands<T> operands{at(in[0]), at(in[1]), bias ? at(in[2]) : nullptr, addend ? at(in[3]) : nullptr,
                                          gate ? at(in[4]) : nullptr};
            mix_forward<T>(device, size, operands, size.gelu ? at(out[1]) : nullptr, at(out[0]));
            mix_backward<T>(device, size, operands, at(out[1]), at(in[5]),
                            {{at(out[2])}, at(out[5]), {at(out[3])}, {at(out[4])}, {at(out[6])}});
          });
    }
  }
}

TYPED_TEST(CudaSpectral, GroupNormsAreThoseOfTheCpu) {
  using T = TypeParam;
  for (const GroupExtents& size : {GroupExtents{2, 1, 3, 70, false}, {3, 2, 4, 300, true}, {1, 5, 1, 33, false}}) {
    const std::int64_t groups = size.batch * size.groups, channels = size.groups * size.channels,
                       fields = groups * size.channels * size.points;
    const std::int64_t affine = size.per_sample ? size.batch * channels : channels;
    for (const bool plain : {false, true}) {
      this->expect_same(
          {this->random(fields, 1), this->random(affine, 2), this->random(affine, 3), this->random(fields, 4)},
          {fields, groups, groups, fields, affine, affine}, [&](auto device, const auto& in, const auto& out) {
            const auto at = [](const Tensor& x) { return x.template data<T>(); };
            const GroupAffine<T> scale{plain ? nullptr : at(in[1]), plain ? nullptr : at(in[2])};
            group_norm<T>(device, size, 1e-5, scale, at(in[0]), at(out[0]), at(out[1]), at(out[2]));
            group_norm_gradient<T>(device, size, scale, at(in[0]), at(out[1]), at(out[2]), at(in[3]), {at(out[3]), at(out[4]), at(out[5])});
          });
    }
  }
}

TYPED_TEST(CudaSpectral, BatchNormsAreThoseOfTheCpu) {
  using T = TypeParam;
  const NormChannels size{3, 5, 70};
  const std::int64_t fields = size.batch * size.channels * size.points;
  this->expect_same({this->random(fields, 1), this->random(5, 2), this->random(5, 3), this->random(fields, 4), full({5}, 0.7, dtype_of<T>)},
                    {fields, 5, 5, fields, fields}, [&](auto device, const auto& in, const auto& out) {
                      const auto at = [](const Tensor& x) { return x.template data<T>(); };
                      const ChannelNorm<T> norm{at(in[1]), at(in[4]), at(in[2]), at(in[3]), 1e-5};
                      batch_norm<T>(device, size, norm, at(in[0]), at(out[0]));
                      batch_norm_gradient_sums<T>(device, size, norm, at(in[0]), at(in[3]), at(out[1]), at(out[2]));
                      batch_norm_gradient<T>(device, size, norm, at(in[1]), at(in[2]), at(in[0]), at(in[3]), at(out[3]));
                      batch_norm_gradient<T>(device, size, norm, nullptr, nullptr, at(in[0]), at(in[3]), at(out[4]));
                    });
  for (const bool centred : {false, true}) {
    const Tensor x = this->random(fields, 1), center = this->random(5, 2), here = empty({5}, DType::f64),
                 there = empty({5}, DType::f64, kGpu);
    channel_sums<T>(Cpu{}, size, x.data<T>(), centred ? center.data<T>() : nullptr, here.data<double>());
    const Tensor x_there = to_device(x, kGpu), center_there = to_device(center, kGpu);
    channel_sums<T>(Cuda{current_stream(kGpu).handle()}, size, x_there.data<T>(), centred ? center_there.data<T>() : nullptr,
                    there.data<double>());
    EXPECT_TENSOR_NEAR(to_device(there, Device{}), here, 1e-12);
  }
}

}  // namespace
}  // namespace trident
