/// Both products and the activation between them. The products' limit is the tensor cores'. In bf16 they end in GELU and its slope. Else
/// the activation has passes of its own, which memory limits: forward reads `before` and writes `after`, backward reads `before` and the
/// gradient and writes `after` and the gradient, adding up the bias's gradient on the way.
#include "runtime/kernels/mlp.h"

#include "runtime/kernels/cuda/activation.h"
#include "runtime/kernels/cuda/parts.h"
#include "runtime/kernels/cuda/products.h"

namespace trident {
namespace {

using namespace cuda;

constexpr int kThreads = kColumnThreads;

template <class T, int N, Activation kActivation>
__global__ void __launch_bounds__(kThreads) activate_kernel(std::int64_t vectors, const T* before, T* after) {
  for (std::int64_t i = grid_thread(); i < vectors; i += grid_threads()) {
    auto values = load<N>(before + i * N);
#pragma unroll
    for (int k = 0; k < N; ++k) values[k] = stored<T>(activate<kActivation>(compute(values[k])));
    store<N>(after + i * N, values);
  }
}

/// gradient *= activation'(before) and after = activation(before), and the sums of that gradient over rows unless nobody wants them.
template <class T, int N, Activation kActivation>
__global__ void __launch_bounds__(kColumnThreads)
    activate_backward_kernel(ColumnSplit split, std::int64_t rows, std::int64_t width, const T* before, T* after, T* gradient,
                             JointSums<Compute<T>> joint, Into<Compute<T>> sums) {
  using C = Compute<T>;
  C sum[N] = {};
  split.for_each_vector<N>(rows, width, [&](std::int64_t at) {
    auto x = load<N>(before + at), slope = load<N>(gradient + at);
#pragma unroll
    for (int i = 0; i < N; ++i) {
      C d = compute(slope[i]);
      x[i] = stored<T>(activate_backward<kActivation>(compute(x[i]), d));
      slope[i] = stored<T>(d);
      sum[i] += d;
    }
    store<N>(after + at, x);
    store<N>(gradient + at, slope);
  });
  if (sums.to != nullptr) add_columns(sum, split.lanes, width, joint, sums);
}

/// Calls launch(number of a vector's elements, activation) as constants.
template <class T, class Launch>
void with_kinds(bool vectors, Activation activation, Launch&& launch) {
  const auto with_activation = [&](auto n) {
    if (activation == Activation::gelu) {
      launch(n, std::integral_constant<Activation, Activation::gelu>{});
    } else {
      launch(n, std::integral_constant<Activation, Activation::relu>{});
    }
  };
  if (vectors) return with_activation(std::integral_constant<int, kVectorWidth<T>>{});
  with_activation(std::integral_constant<int, 1>{});
}

template <class T>
void activate_all(Cuda device, Activation activation, std::int64_t count, const T* before, T* after) {
  with_kinds<T>(fits_vectors<kVectorWidth<T>>(count, before, static_cast<const T*>(after)), activation, [&](auto n, auto kind) {
    launch_kernel(activate_kernel<T, n(), kind()>, strided_grid(count / n(), kThreads), kThreads, 0, device, count / n(), before, after);
  });
}

template <class T>
void activate_all_backward(Cuda device, MlpSize size, const T* before, T* after, T* gradient, Into<Wide<T>> up_bias) {
  const bool vectors = fits_vectors<kVectorWidth<T>>(size.hidden, before, static_cast<const T*>(after), static_cast<const T*>(gradient));
  with_kinds<T>(vectors, size.activation, [&](auto n, auto kind) {
    const ColumnSplit split(size.rows, size.hidden, n());
    const JointMemory<Wide<T>> memory(device, split.columns, split.parts, split.lanes * n());
    launch_kernel(activate_backward_kernel<T, n(), kind()>, split.grid(), kColumnThreads, 0, device, split, size.rows, size.hidden, before,
                  after, gradient, memory.sums(), up_bias);
  });
}

}  // namespace

template <class T>
void mlp_hidden(Cuda device, MlpSize size, const T* x, MlpWeights<T> weights, T* before, T* after) {
  const Product up{.m = size.rows, .n = size.hidden, .k = size.in, .lda = size.in, .ldb = size.in, .ldc = size.hidden, .transpose_b = true};
  if (keeps_after(dtype_of<T>, size.activation)) {
    if constexpr (std::is_same_v<T, bf16>) product_gelu(device, up, x, weights.up, weights.up_bias, before, after);
  } else {
    T* plain = before != nullptr ? before : after;
    product(device, up, x, weights.up, weights.up_bias, plain);
    activate_all(device, size.activation, size.rows * size.hidden, plain, after);
  }
}

template <class T>
void mlp_forward(Cuda device, MlpSize size, const T* x, MlpWeights<T> weights, MlpHidden<T> keep, T* y) {
  const Block memory = workspace(device, keep.after != nullptr ? 0 : static_cast<std::size_t>(size.rows * size.hidden) * sizeof(T));
  T* after = keep.after != nullptr ? keep.after : static_cast<T*>(memory.data());
  mlp_hidden(device, size, x, weights, keep.before, after);
  product(device,
          {.m = size.rows, .n = size.out, .k = size.hidden, .lda = size.hidden, .ldb = size.hidden, .ldc = size.out, .transpose_b = true},
          after, weights.down, weights.down_bias, y);
}

template <class T>
void mlp_backward(Cuda device, MlpSize size, const T* x, MlpHidden<const T> kept, const T* dy, MlpWeights<T> weights, MlpGradients<T> to) {
  const std::size_t bytes = static_cast<std::size_t>(size.rows * size.hidden) * sizeof(T);
  const Block gradient_memory = workspace(device, bytes), after_memory = workspace(device, kept.after != nullptr ? 0 : bytes);
  T* gradient = static_cast<T*>(gradient_memory.data());
  const T* after = kept.after;
  const T* no_bias = nullptr;
  const Wide<T>* no_wide_bias = nullptr;
  const Product down{.m = size.rows, .n = size.hidden, .k = size.out, .lda = size.out, .ldb = size.hidden, .ldc = size.hidden};
  if (after != nullptr) {
    if constexpr (std::is_same_v<T, bf16>) product_gelu_slope(device, down, dy, weights.down, kept.before, gradient);
    if (to.up_bias.to != nullptr) column_sums(device, size.rows, size.hidden, gradient, to.up_bias.to, to.up_bias.sum);
  } else {
    T* again = static_cast<T*>(after_memory.data());
    product(device, down, dy, weights.down, no_bias, gradient);
    activate_all_backward(device, size, kept.before, again, gradient, to.up_bias);
    after = again;
  }
  if (to.x.to != nullptr) {
    product(device,
            {.m = size.rows, .n = size.in, .k = size.hidden, .lda = size.hidden, .ldb = size.in, .ldc = size.in, .beta = to.x.beta()},
            gradient, weights.up, no_bias, to.x.to);
  }
  const auto weight_gradient = [&](std::int64_t m, std::int64_t n, const T* dy_of, const T* x_of, Into<Wide<T>> dweight) {
    if (dweight.to == nullptr) return;
    product(device, {.m = m, .n = n, .k = size.rows, .lda = m, .ldb = n, .ldc = n, .transpose_a = true, .beta = dweight.beta()}, dy_of,
            x_of, no_wide_bias, dweight.to);
  };
  weight_gradient(size.hidden, size.in, gradient, x, to.up);
  weight_gradient(size.out, size.hidden, dy, after, to.down);
  if (to.down_bias.to != nullptr) column_sums(device, size.rows, size.out, dy, to.down_bias.to, to.down_bias.sum);
}

#define TRIDENT_MLP(T)                                                                    \
  template void mlp_hidden<T>(Cuda, MlpSize, const T*, MlpWeights<T>, T*, T*);            \
  template void mlp_forward<T>(Cuda, MlpSize, const T*, MlpWeights<T>, MlpHidden<T>, T*); \
  template void mlp_backward<T>(Cuda, MlpSize, const T*, MlpHidden<const T>, const T*, MlpWeights<T>, MlpGradients<T>);
TRIDENT_MLP(float)
TRIDENT_MLP(double)
TRIDENT_MLP(bf16)

}  // namespace trident
