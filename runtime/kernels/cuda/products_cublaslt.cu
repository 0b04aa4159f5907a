#include <cublasLt.h>

#include <array>
#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <tuple>

#include "runtime/kernels/cuda/activation.h"
#include "runtime/kernels/cuda/plain_product.h"
#include "runtime/kernels/cuda/workspace.h"

namespace trident::cuda {
namespace {

constexpr std::size_t kWorkspaceBytes = std::size_t{32} << 20;  // what cuBLAS recommends for Hopper
std::atomic<bool> tf32_is_allowed = false;

void check(const char* call, cublasStatus_t status) {
  if (status != CUBLAS_STATUS_SUCCESS) throw DeviceError(concat("matmul: ", call, ": ", cublasLtGetStatusString(status)));
}

template <auto Destroy>
struct Destroyer {
  template <class Handle>
  void operator()(Handle* handle) const {
    Destroy(handle);
  }
};
using MatmulDescription = std::unique_ptr<cublasLtMatmulDescOpaque_t, Destroyer<cublasLtMatmulDescDestroy>>;
using LayoutDescription = std::unique_ptr<cublasLtMatrixLayoutOpaque_t, Destroyer<cublasLtMatrixLayoutDestroy>>;
using Preference = std::unique_ptr<cublasLtMatmulPreferenceOpaque_t, Destroyer<cublasLtMatmulPreferenceDestroy>>;

template <class T>
constexpr cudaDataType_t kType = CUDA_R_32F;
template <>
constexpr cudaDataType_t kType<double> = CUDA_R_64F;
template <>
constexpr cudaDataType_t kType<bf16> = CUDA_R_16BF;

/// cuBLASLt's handle of a device, which is the current one.
cublasLtHandle_t handle(Cuda device) {
  static std::array<cublasLtHandle_t, kMostDevices> handles{};  // live as long as the process
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  auto& one = handles.at(static_cast<std::size_t>(device.index));
  if (one == nullptr) check("cublasLtCreate", cublasLtCreate(&one));
  return one;
}

/// What a product does to its result before it stores it, and with which memory.
struct Epilogue {
  cublasLtEpilogue_t kind = CUBLASLT_EPILOGUE_DEFAULT;
  const void *bias = nullptr, *aux = nullptr;
};

/// What a plan depends on: sizes, types, whether TF32 may be used, where operands are aligned.
struct PlanKey {
  std::array<std::int64_t, 10> sizes;  // m, n, k, ld, count, strides
  bool transpose_a, transpose_b, tf32, adds;
  cublasLtEpilogue_t epilogue;
  cudaDataType_t in, out;
  std::array<std::uint32_t, 3> alignment;  // bytes

  auto operator<=>(const PlanKey&) const = default;
};

struct Plan {
  MatmulDescription product;
  LayoutDescription left, right, result;
  cublasLtMatmulAlgo_t algorithm;
  bool is_found = false;  // an algorithm
};

template <class Value>
void set(const MatmulDescription& product, cublasLtMatmulDescAttributes_t attribute, const Value& value) {
  check("cublasLtMatmulDescSetAttribute", cublasLtMatmulDescSetAttribute(product.get(), attribute, &value, sizeof value));
}

/// Where the epilogue finds its operands.
void set_operands(const MatmulDescription& product, const Epilogue& epilogue) {
  if (epilogue.bias != nullptr) set(product, CUBLASLT_MATMUL_DESC_BIAS_POINTER, epilogue.bias);
  if (epilogue.aux != nullptr) set(product, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, epilogue.aux);
}

/// Of a row-major matrix as stored, which is its transpose to cuBLASLt.
LayoutDescription layout(cudaDataType_t type, std::int64_t rows, std::int64_t columns, std::int64_t ld, std::int64_t count,
                         std::int64_t stride) {
  cublasLtMatrixLayout_t made = nullptr;
  check("cublasLtMatrixLayoutCreate",
        cublasLtMatrixLayoutCreate(&made, type, static_cast<std::uint64_t>(columns), static_cast<std::uint64_t>(rows), ld));
  LayoutDescription result(made);
  const auto batch = static_cast<std::int32_t>(count);
  check("cublasLtMatrixLayoutSetAttribute",
        cublasLtMatrixLayoutSetAttribute(made, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &batch, sizeof batch));
  check("cublasLtMatrixLayoutSetAttribute",
        cublasLtMatrixLayoutSetAttribute(made, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride, sizeof stride));
  return result;
}

Preference preference(const PlanKey& key) {
  cublasLtMatmulPreference_t made = nullptr;
  check("cublasLtMatmulPreferenceCreate", cublasLtMatmulPreferenceCreate(&made));
  Preference result(made);
  const auto set_one = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
    check("cublasLtMatmulPreferenceSetAttribute", cublasLtMatmulPreferenceSetAttribute(made, attribute, &value, sizeof value));
  };
  set_one(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspaceBytes);
  set_one(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, key.alignment[1]);  // operands change places: see layout()
  set_one(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, key.alignment[0]);
  set_one(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, key.alignment[2]);
  set_one(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, key.alignment[2]);
  // Partial sums of split products are kept in f32 and added up in one order, never by atomics.
  set_one(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, static_cast<std::uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
  return result;
}

/// Takes the first algorithm that the heuristics name, if there is one.
void choose(Cuda device, Plan& plan, const PlanKey& key) {
  const Preference preferred = preference(key);
  cublasLtMatmulHeuristicResult_t found{};
  int count = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(handle(device), plan.product.get(), plan.left.get(), plan.right.get(),
                                                               plan.result.get(), plan.result.get(), preferred.get(), 1, &found, &count);
  if (status != CUBLAS_STATUS_SUCCESS || count == 0 || found.state != CUBLAS_STATUS_SUCCESS) return;
  plan.algorithm = found.algo;
  plan.is_found = true;
}

/// `epilogue`: with any operands that it may have, as the heuristics look for them.
std::unique_ptr<Plan> make_plan(Cuda device, const PlanKey& key, const Product& size, const Epilogue& epilogue) {
  auto plan = std::make_unique<Plan>();
  const cublasComputeType_t type = key.in == CUDA_R_64F ? CUBLAS_COMPUTE_64F : key.tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
  cublasLtMatmulDesc_t made = nullptr;
  check("cublasLtMatmulDescCreate", cublasLtMatmulDescCreate(&made, type, key.in == CUDA_R_64F ? CUDA_R_64F : CUDA_R_32F));
  plan->product.reset(made);
  // Row-major c = a b is column-major c^T = b^T a^T: the right operand comes first.
  set(plan->product, CUBLASLT_MATMUL_DESC_TRANSA, size.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N);
  set(plan->product, CUBLASLT_MATMUL_DESC_TRANSB, size.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N);
  plan->left = layout(key.in, size.transpose_b ? size.n : size.k, size.transpose_b ? size.k : size.n, size.ldb, size.count, size.stride_b);
  plan->right = layout(key.in, size.transpose_a ? size.k : size.m, size.transpose_a ? size.m : size.k, size.lda, size.count, size.stride_a);
  plan->result = layout(key.out, size.m, size.n, size.ldc, size.count, size.stride_c);
  set(plan->product, CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue.kind);
  if (epilogue.bias != nullptr) set(plan->product, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, key.out);
  if (epilogue.aux != nullptr) set(plan->product, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, size.ldc);
  set_operands(plan->product, epilogue);
  choose(device, *plan, key);
  return plan;
}

const Plan& plan_of(Cuda device, const PlanKey& key, const Product& size, const Epilogue& epilogue) {
  static std::map<std::pair<int, PlanKey>, std::unique_ptr<Plan>> plans;
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  auto& plan = plans[{device.index, key}];
  if (!plan) plan = make_plan(device, key, size, epilogue);
  return *plan;
}

/// The largest power of two up to 256 that divides the address.
std::uint32_t alignment_of(const void* address) {
  const auto bits = static_cast<std::uint32_t>(reinterpret_cast<std::uintptr_t>(address)) | 256U;
  return bits & (~bits + 1U);
}

/// Whether an epilogue's kernels can load vectors from there, which the heuristics do not ask.
bool fits_epilogue(const void* address) {
  constexpr std::uint32_t kLoads = 16;  // bytes
  return address == nullptr || alignment_of(address) >= kLoads;
}

/// c = op(a) op(b) + beta c, and the epilogue, by the library; false where it has no algorithm for that.
template <class T, class Out>
bool multiply(Cuda device, const Product& size, const T* a, const T* b, const Epilogue& epilogue, Out* c) {
  using Scale = Compute<Out>;
  if (size.k == 0 || !fits_epilogue(epilogue.bias) || !fits_epilogue(epilogue.aux)) return false;
  const PlanKey key{
      .sizes = {size.m, size.n, size.k, size.lda, size.ldb, size.ldc, size.count, size.stride_a, size.stride_b, size.stride_c},
      .transpose_a = size.transpose_a,
      .transpose_b = size.transpose_b,
      .tf32 = std::is_same_v<T, float> && tf32_is_allowed,
      .adds = size.beta != 0.0,
      .epilogue = epilogue.kind,
      .in = kType<T>,
      .out = kType<Out>,
      .alignment = {alignment_of(a), alignment_of(b), alignment_of(c)}};
  const Plan& plan = plan_of(device, key, size, epilogue);
  if (!plan.is_found) return false;
  const Block memory = workspace(device, kWorkspaceBytes);
  const Scale alpha = 1, beta = static_cast<Scale>(size.beta);
  static std::mutex mutex;  // the description holds the places of the epilogue's operands
  const std::lock_guard lock(mutex);
  set_operands(plan.product, epilogue);
  check("cublasLtMatmul",
        cublasLtMatmul(handle(device), plan.product.get(), &alpha, b, plan.left.get(), a, plan.right.get(), &beta, c, plan.result.get(), c,
                       plan.result.get(), &plan.algorithm, memory.data(), kWorkspaceBytes, static_cast<cudaStream_t>(device.stream)));
  return true;
}

constexpr int kThreads = 256;

/// c += bias.
template <class Out>
__global__ void __launch_bounds__(kThreads) bias_kernel(Product size, const Out* bias, Out* c) {
  const std::int64_t matrix = size.m * size.n;
  for (std::int64_t i = grid_thread(); i < size.count * matrix; i += grid_threads()) {
    const std::int64_t row = i % matrix / size.n, column = i % size.n;
    Out& target = c[i / matrix * size.stride_c + row * size.ldc + column];
    target = stored<Out>(compute(target) + compute(bias[column]));
  }
}

/// c = gelu(before), or with kSlope c *= gelu'(before).
template <bool kSlope>
__global__ void __launch_bounds__(kThreads) gelu_kernel(std::int64_t count, const bf16* before, bf16* c) {
  for (std::int64_t i = grid_thread(); i < count; i += grid_threads()) {
    const GeluByTanh gelu = gelu_by_tanh(compute(before[i]));
    c[i] = stored<bf16>(kSlope ? compute(c[i]) * gelu.slope : gelu.value);
  }
}

/// Whether matrices of bf16 with so many columns can go with GELU's epilogues.
bool fits_gelu(const Product& size) { return size.n % 8 == 0; }

}  // namespace

void allow_tf32(bool allowed) { tf32_is_allowed = allowed; }

template <class T, class Out>
void product(Cuda device, const Product& size, const T* a, const T* b, const Out* bias, Out* c) {
  if (size.m == 0 || size.n == 0 || size.count == 0) return;
  const bool may_add_bias = bias != nullptr && !std::is_same_v<Out, double> && size.count == 1;
  if (may_add_bias && multiply(device, size, a, b, {CUBLASLT_EPILOGUE_BIAS, bias}, c)) return;
  if (!multiply(device, size, a, b, {}, c)) return plain_product(device, size, a, b, bias, c);
  if (bias == nullptr) return;
  launch_kernel(bias_kernel<Out>, strided_grid(size.count * size.m * size.n, kThreads), kThreads, 0, device, size, bias, c);
}

void product_gelu(Cuda device, const Product& size, const bf16* a, const bf16* b, const bf16* bias, bf16* before, bf16* c) {
  if (size.m == 0 || size.n == 0) return;
  const Epilogue gelu{before == nullptr ? bias == nullptr ? CUBLASLT_EPILOGUE_GELU : CUBLASLT_EPILOGUE_GELU_BIAS
                      : bias == nullptr ? CUBLASLT_EPILOGUE_GELU_AUX
                                        : CUBLASLT_EPILOGUE_GELU_AUX_BIAS,
                      bias, before};
  if (fits_gelu(size) && multiply(device, size, a, b, gelu, c)) return;
  bf16* plain = before == nullptr ? c : before;
  product(device, size, a, b, bias, plain);
  launch_kernel(gelu_kernel<false>, strided_grid(size.m * size.n, kThreads), kThreads, 0, device, size.m * size.n, plain, c);
}

void product_gelu_slope(Cuda device, const Product& size, const bf16* a, const bf16* b, const bf16* before, bf16* c) {
  if (size.m == 0 || size.n == 0) return;
  if (fits_gelu(size) && multiply(device, size, a, b, {CUBLASLT_EPILOGUE_DGELU, nullptr, before}, c)) return;
  const bf16* no_bias = nullptr;
  product(device, size, a, b, no_bias, c);
  launch_kernel(gelu_kernel<true>, strided_grid(size.m * size.n, kThreads), kThreads, 0, device, size.m * size.n, before, c);
}

#define TRIDENT_PRODUCT(T, Out) template void product<T, Out>(Cuda, const Product&, const T*, const T*, const Out*, Out*);
TRIDENT_PRODUCT(float, float)
TRIDENT_PRODUCT(double, double)
TRIDENT_PRODUCT(bf16, bf16)
TRIDENT_PRODUCT(bf16, float)

}  // namespace trident::cuda
