#include <cublasLt.h>

#include <array>
#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <tuple>

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

/// What a plan depends on: sizes, types, whether TF32 may be used, where operands are aligned.
struct PlanKey {
  std::array<std::int64_t, 10> sizes;                    // m, n, k, ld, count, strides
  bool transpose_a, transpose_b, adds_bias, tf32, adds;  // adds_bias: the product may
  cudaDataType_t in, out;
  std::array<std::uint32_t, 3> alignment;  // bytes

  auto operator<=>(const PlanKey&) const = default;
};

struct Plan {
  MatmulDescription product;
  LayoutDescription left, right, result;
  cublasLtMatmulAlgo_t algorithm;
  bool is_found = false;   // else the library has no algorithm, and ours does it
  bool adds_bias = false;  // else a kernel of ours adds it afterwards
};

template <class Value>
void set(const MatmulDescription& product, cublasLtMatmulDescAttributes_t attribute, const Value& value) {
  check("cublasLtMatmulDescSetAttribute", cublasLtMatmulDescSetAttribute(product.get(), attribute, &value, sizeof value));
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

/// Takes the first algorithm that the heuristics name; false if there is none.
bool choose(Cuda device, Plan& plan, const PlanKey& key) {
  const Preference preferred = preference(key);
  cublasLtMatmulHeuristicResult_t found{};
  int count = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(handle(device), plan.product.get(), plan.left.get(), plan.right.get(),
                                                               plan.result.get(), plan.result.get(), preferred.get(), 1, &found, &count);
  if (status != CUBLAS_STATUS_SUCCESS || count == 0 || found.state != CUBLAS_STATUS_SUCCESS) return false;
  plan.algorithm = found.algo;
  return plan.is_found = true;
}

/// `bias`: any that the product may have, as the heuristics look for one.
std::unique_ptr<Plan> make_plan(Cuda device, const PlanKey& key, const Product& size, const void* bias) {
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
  plan->adds_bias = key.adds_bias;
  if (plan->adds_bias) {
    set(plan->product, CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
    set(plan->product, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, key.out);
    set(plan->product, CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
    if (choose(device, *plan, key)) return plan;
    plan->adds_bias = false;
    set(plan->product, CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_DEFAULT);
  }
  choose(device, *plan, key);
  return plan;
}

const Plan& plan_of(Cuda device, const PlanKey& key, const Product& size, const void* bias) {
  static std::map<std::pair<int, PlanKey>, std::unique_ptr<Plan>> plans;
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  auto& plan = plans[{device.index, key}];
  if (!plan) plan = make_plan(device, key, size, bias);
  return *plan;
}

/// The largest power of two up to 256 that divides the address.
std::uint32_t alignment_of(const void* address) {
  const auto bits = static_cast<std::uint32_t>(reinterpret_cast<std::uintptr_t>(address)) | 256U;
  return bits & (~bits + 1U);
}

/// Whether cuBLASLt may add the bias: of one product, not in f64, and where its kernels load vectors of it, which the heuristics do not
/// ask.
template <class Out>
bool may_add_bias(const Product& size, const Out* bias) {
  constexpr std::uint32_t kLoads = 16;  // bytes
  return bias != nullptr && !std::is_same_v<Out, double> && size.count == 1 && alignment_of(bias) >= kLoads;
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

}  // namespace

void allow_tf32(bool allowed) { tf32_is_allowed = allowed; }

template <class T, class Out>
void product(Cuda device, const Product& size, const T* a, const T* b, const Out* bias, Out* c) {
  if (size.m == 0 || size.n == 0 || size.count == 0) return;
  if (size.k == 0) return plain_product(device, size, a, b, bias, c);
  using Scale = Compute<Out>;
  const PlanKey key{
      .sizes = {size.m, size.n, size.k, size.lda, size.ldb, size.ldc, size.count, size.stride_a, size.stride_b, size.stride_c},
      .transpose_a = size.transpose_a,
      .transpose_b = size.transpose_b,
      .adds_bias = may_add_bias(size, bias),
      .tf32 = std::is_same_v<T, float> && tf32_is_allowed,
      .adds = size.beta != 0.0,
      .in = kType<T>,
      .out = kType<Out>,
      .alignment = {alignment_of(a), alignment_of(b), alignment_of(c)}};
  const Plan& plan = plan_of(device, key, size, bias);
  if (!plan.is_found) return plain_product(device, size, a, b, bias, c);
  const Block memory = workspace(device, kWorkspaceBytes);
  const Scale alpha = 1, beta = static_cast<Scale>(size.beta);
  {
    static std::mutex mutex;  // the description holds the bias's place
    const std::lock_guard lock(mutex);
    if (plan.adds_bias) set(plan.product, CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
    check("cublasLtMatmul",
          cublasLtMatmul(handle(device), plan.product.get(), &alpha, b, plan.left.get(), a, plan.right.get(), &beta, c, plan.result.get(),
                         c, plan.result.get(), &plan.algorithm, memory.data(), kWorkspaceBytes, static_cast<cudaStream_t>(device.stream)));
  }
  if (bias == nullptr || plan.adds_bias) return;
  launch_kernel(bias_kernel<Out>, strided_grid(size.count * size.m * size.n, kThreads), kThreads, 0, device, size, bias, c);
}

#define TRIDENT_PRODUCT(T, Out) template void product<T, Out>(Cuda, const Product&, const T*, const T*, const Out*, Out*);
TRIDENT_PRODUCT(float, float)
TRIDENT_PRODUCT(double, double)
TRIDENT_PRODUCT(bf16, bf16)
TRIDENT_PRODUCT(bf16, float)

}  // namespace trident::cuda
