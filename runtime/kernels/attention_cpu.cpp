#include "runtime/kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <type_traits>
#include <vector>

#include "runtime/kernels/attention_window.h"
#include "runtime/kernels/few_in_f64.h"
#include "runtime/kernels/on_threads.h"

namespace trident {
namespace {

using cpu::gather, cpu::gather_part, cpu::kBlockRows, cpu::Layout, cpu::load, cpu::small_product, cpu::small_product_from, cpu::store,
    cpu::Vector, cpu::WindowTask, cpu::WindowWorkspace;

/// Factors of dropout, 0 or 1 / (1 - p), for queries [first, first + rows) of a task.
template <class T>
void dropout_factors(const WindowAttentionSize& size, const WindowTask& task, std::int64_t first, const WindowWorkspace<T>& work,
                     T* factors) {
  const AttentionDropout& dropout = size.dropout;
  const RandomKey key = dropout.key.key()
                            .fold(static_cast<std::uint64_t>(dropout.first_sample + task.sample))
                            .fold(static_cast<std::uint64_t>(size.grid.first_row / size.grid.window + task.window_y))
                            .fold(static_cast<std::uint64_t>(size.grid.first_column / size.grid.window + task.window_x))
                            .fold(static_cast<std::uint64_t>(dropout.first_head + task.head));
  const T factor = static_cast<T>(1.0 / (1.0 - dropout.probability));
  for (std::int64_t row = 0; row < std::min(kBlockRows, work.tokens() - first); ++row) {
    for (std::int64_t j = 0; j < work.tokens(); ++j) {
      const bool keep = uniform(key, static_cast<std::uint64_t>((first + row) * work.tokens() + j)) >= dropout.probability;
      factors[row * work.step() + j] = keep ? factor : T(0);
    }
  }
}

template <class T>
void multiply_into(std::int64_t count, const T* factors, T* values) {
#pragma omp simd
  for (std::int64_t i = 0; i < count; ++i) values[i] *= factors[i];
}

template <class T>
void forward_task(const WindowAttentionSize& size, const WindowAttentionInputs<T>& in, const WindowTask& task, WindowWorkspace<T>& work,
                  T* y) {
  gather(size, in, task, work);
  const std::int64_t keys = work.keys(), width = work.width(), step = work.step();
  for (std::int64_t first = 0; first < work.tokens(); first += kBlockRows) {
    work.exponentials(first);
    if (size.dropout.probability > 0.0) {
      dropout_factors(size, task, first, work, work.kept);
      multiply_into(kBlockRows * work.step(), work.kept, work.scores);
    }
    small_product<T, Layout::rows>(kBlockRows, width, keys, {work.scores, step}, {work.v, width}, {work.block_out, width});
    for (std::int64_t row = 0; row < std::min(kBlockRows, work.tokens() - first); ++row) {
      const T *source = work.block_out + row * width, factor = work.inverse_sum[row];
      T* target = y + (work.token(first + row) * size.heads + task.head) * size.head_size;
#pragma omp simd
      for (std::int64_t c = 0; c < size.head_size; ++c) target[c] = source[c] * factor;
    }
  }
}

/// dx = the gradient of x given `factor` times that of unit = x / max(norm, floor).
template <class T>
void normalise_backward(std::int64_t count, const T* unit, T norm, const T* dunit, T factor, T* dx) {
  T along = 0;
  if (norm > T(0)) {
#pragma omp simd reduction(+ : along)
    for (std::int64_t c = 0; c < count; ++c) along += dunit[c] * unit[c];
  }
  factor /= std::abs(norm);
#pragma omp simd
  for (std::int64_t c = 0; c < count; ++c) dx[c] = (dunit[c] - unit[c] * along) * factor;
}

/// dscores = p (dp - <p, dp>), row by row, with p = e inverse_sum and dp scaled by dropout first; e becomes what v was multiplied with.
template <class T>
void softmax_backward(std::int64_t keys, std::int64_t step, const T* inverse_sum, const T* kept, T* e, T* dp) {
  constexpr int L = cpu::kLanes<T>;
  for (std::int64_t row = 0; row < kBlockRows; ++row) {
    T *e_row = e + row * step, *dp_row = dp + row * step;
    if (kept != nullptr) multiply_into(keys, kept + row * step, dp_row);
    Vector<T> products{};
    for (std::int64_t j = 0; j < keys; j += L) products += load(e_row + j) * load(dp_row + j);
    const T along = cpu::sum_of_lanes<T>(products) * inverse_sum[row];
    for (std::int64_t j = 0; j < keys; j += L) {
      const Vector<T> p = load(e_row + j) * inverse_sum[row];
      store(dp_row + j, p * (load(dp_row + j) - along));
      store(e_row + j, p);
    }
    if (kept != nullptr) multiply_into(keys, kept + row * step, e_row);
  }
}

/// Queries [first, first + kBlockRows) backward: adds to dk and dv, writes dq, adds to dbias; returns the gradient of the scale times the
/// scale.
template <class T>
double backward_block(const WindowAttentionSize& size, const WindowTask& task, std::int64_t first, WindowWorkspace<T>& work, T* dbias,
                      T* dqkv) {
  const std::int64_t tokens = work.tokens(), keys = work.keys(), width = work.width(), step = work.step();
  const std::int64_t rows = std::min(kBlockRows, tokens - first);
  work.exponentials(first);
  const bool drops = size.dropout.probability > 0.0;
  if (drops) dropout_factors(size, task, first, work, work.kept);
  small_product<T, Layout::rows>(kBlockRows, keys, size.head_size, {work.dy + first * width, width}, {work.v_transposed, step},
                                 {work.dscores, step});
  softmax_backward(keys, step, work.inverse_sum, drops ? work.kept : nullptr, work.scores, work.dscores);
  for (std::int64_t row = 0; row < rows && dbias != nullptr; ++row) {
    cpu::for_window_rows(size, first + row, [&](std::int64_t key, std::int64_t offset) {
      T* target = dbias + offset;
      const T* source = work.dscores + row * step + key;
#pragma omp simd
      for (std::int64_t j = 0; j < size.grid.window; ++j) target[j] += source[j];
    });
  }
  small_product_from<T, Layout::columns>({work.dv, width}, keys, width, kBlockRows, {work.scores, step}, {work.dy + first * width, width},
                                         {work.dv, width});
  small_product_from<T, Layout::columns>({work.dk, width}, keys, width, kBlockRows, {work.dscores, step}, {work.q + first * width, width},
                                         {work.dk, width});
  small_product<T, Layout::rows>(kBlockRows, width, keys, {work.dscores, step}, {work.k, width}, {work.block_out, width});
  double dscale = 0;  // terms of both signs cancel
  for (std::int64_t row = 0; row < rows; ++row) {
    const T *dq = work.block_out + row * width, *q = work.q + (first + row) * width;
    T along = 0;
#pragma omp simd reduction(+ : along)
    for (std::int64_t c = 0; c < size.head_size; ++c) along += dq[c] * q[c];
    dscale += static_cast<double>(along);
    normalise_backward(size.head_size, q, work.q_norm[first + row], dq, work.scale(), dqkv + work.offset(first + row, 0, task.head));
  }
  return dscale * static_cast<double>(work.scale());
}

/// Returns the gradient of the logarithm of the scale.
template <class T>
double backward_task(const WindowAttentionSize& size, const WindowAttentionInputs<T>& in, const WindowTask& task, const T* dy,
                     WindowWorkspace<T>& work, T* dbias, T* dqkv) {
  gather(size, in, task, work);
  const std::int64_t tokens = work.tokens(), width = work.width();
  gather_part<T>(size.head_size, work, work.dy, nullptr,
                 [&](std::int64_t i) { return dy + (work.token(i) * size.heads + task.head) * size.head_size; });
  std::fill_n(work.dk, work.keys() * width, T(0));
  std::fill_n(work.dv, work.keys() * width, T(0));
  double dscale = 0;
  for (std::int64_t first = 0; first < tokens; first += kBlockRows) dscale += backward_block(size, task, first, work, dbias, dqkv);
  for (std::int64_t i = 0; i < tokens; ++i) {
    normalise_backward(size.head_size, work.k + i * width, work.k_norm[i], work.dk + i * width, work.scale(),
                       dqkv + work.offset(i, 1, task.head));
    std::copy_n(work.dv + i * width, size.head_size, dqkv + work.offset(i, 2, task.head));
  }
  return dscale;
}

/// Parts of a head's tasks, whose gradients of position bias are added up one by one: enough for all threads, whatever their number, so
/// that sums do not depend on it.
std::int64_t parts_per_head(const WindowAttentionSize& size) {
  constexpr std::int64_t kParts = 256;
  const std::int64_t wanted = (kParts + size.heads - 1) / std::max<std::int64_t>(size.heads, 1);
  return std::min(wanted, size.tasks_per_head());
}

/// The sums over the parts (heads, parts, offsets) into dbias (heads, offsets).
template <class T>
void add_parts(const WindowAttentionSize& size, std::int64_t parts, const T* partial, Into<T> dbias) {
#pragma omp parallel for schedule(static)
  for (std::int64_t head = 0; head < size.heads; ++head) {
    T* sum = dbias.to + head * size.offsets();
    if (dbias.sum == Sum::replaces) std::fill_n(sum, size.offsets(), T(0));
    for (std::int64_t part = 0; part < parts; ++part) {
      const T* source = partial + (head * parts + part) * size.offsets();
#pragma omp simd
      for (std::int64_t i = 0; i < size.offsets(); ++i) sum[i] += source[i];
    }
  }
}

void forward_in_f64(const WindowAttentionSize& size, const WindowAttentionInputs<float>& in, float* y) {
  const std::int64_t numbers = size.batch * size.ny * size.nx * size.heads * size.head_size;
  const std::vector<double> qkv = cpu::in_f64(in.qkv, 3 * numbers), scale = cpu::in_f64(in.logit_scale, size.heads);
  const std::vector<double> bias = cpu::in_f64(in.position_bias, size.heads * size.offsets());
  std::vector<double> wide(static_cast<std::size_t>(numbers));
  window_attention_forward<double>(Cpu{}, size, {qkv.data(), scale.data(), bias.data()}, wide.data(), nullptr);
  cpu::round_to(y, wide);
}

}  // namespace

template <class T>
void window_attention_forward(Cpu, const WindowAttentionSize& size, WindowAttentionInputs<T> in, T* y, Wide<T>*) {
  if constexpr (std::is_same_v<T, float>) {
    constexpr std::int64_t kSlower = 8;  // than a product: mostly exponentials
    const std::int64_t scores = size.heads * size.tasks_per_head() * size.tokens() * size.tokens();
    if (cpu::are_few(kSlower * 2 * scores * size.head_size)) return forward_in_f64(size, in, y);
  }
  const std::int64_t tasks = size.heads * size.tasks_per_head();
  share_out_prepared(tasks, std::min<std::int64_t>(omp_get_max_threads(), tasks), [&] {
    return [&, work = WindowWorkspace<T>(size, false)](std::int64_t first, std::int64_t last) mutable {
      for (std::int64_t index = first; index < last; ++index) forward_task(size, in, WindowTask(size, index), work, y);
    };
  });
}

template <class T>
void window_attention_backward(Cpu, const WindowAttentionSize& size, WindowAttentionInputs<T> in, WindowAttentionKept<T>, const T* dy,
                               WindowAttentionGradients<T> to) {
  const std::int64_t per_head = size.tasks_per_head(), parts = parts_per_head(size), all_parts = size.heads * parts;
  const bool wants_bias = to.position_bias.to != nullptr;
  const Block sums(wants_bias ? static_cast<std::size_t>(all_parts * size.offsets()) * sizeof(T) : 0, {});
  T* partial = static_cast<T*>(sums.data());
  std::vector<double> dscale(static_cast<std::size_t>(size.heads * per_head));
  share_out_prepared(all_parts, std::min<std::int64_t>(omp_get_max_threads(), all_parts), [&] {
    return [&, work = WindowWorkspace<T>(size, true)](std::int64_t first_part, std::int64_t last_part) mutable {
      for (std::int64_t part = first_part; part < last_part; ++part) {
        T* dbias = wants_bias ? partial + part * size.offsets() : nullptr;
        if (wants_bias) std::fill_n(dbias, size.offsets(), T(0));
        const std::int64_t head = part / parts, begin = per_head * (part % parts) / parts, end = per_head * (part % parts + 1) / parts;
        for (std::int64_t index = head * per_head + begin; index < head * per_head + end; ++index)
          dscale[static_cast<std::size_t>(index)] = backward_task(size, in, WindowTask(size, index), dy, work, dbias, to.qkv);
      }
    };
  });
  if (wants_bias) add_parts(size, parts, partial, to.position_bias);
  for (std::int64_t head = 0; head < size.heads && to.logit_scale.to != nullptr; ++head) {
    double sum = 0.0;
    for (std::int64_t i = head * per_head; i < (head + 1) * per_head; ++i) sum += dscale[static_cast<std::size_t>(i)];
    if (in.logit_scale[head] > static_cast<T>(std::log(100.0))) sum = 0.0;
    T& target = to.logit_scale.to[head];
    target = static_cast<T>(to.logit_scale.sum == Sum::adds ? static_cast<double>(target) + sum : sum);
  }
}

#define TRIDENT_ATTENTION(T)                                                                                                              \
  template void window_attention_forward<T>(Cpu, const WindowAttentionSize&, WindowAttentionInputs<T>, T*, Wide<T>*);                     \
  template void window_attention_backward<T>(Cpu, const WindowAttentionSize&, WindowAttentionInputs<T>, WindowAttentionKept<T>, const T*, \
                                             WindowAttentionGradients<T>);
TRIDENT_ATTENTION(float)
TRIDENT_ATTENTION(double)

}  // namespace trident
