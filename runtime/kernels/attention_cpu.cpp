#include "runtime/kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <type_traits>
#include <vector>

#include "runtime/kernels/attention_window.h"
#include "runtime/kernels/few_in_f64.h"
#include "runtime/kernels/lane_sums.h"
#include "runtime/kernels/on_threads.h"

namespace trident {
namespace {

using cpu::gather, cpu::gather_part, cpu::kBlockRows, cpu::Layout, cpu::load, cpu::Rows, cpu::small_product, cpu::small_product_from,
    cpu::store, cpu::Vector, cpu::WindowTask, cpu::WindowWorkspace;

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
      T* target = y + (work.token(first + row) * size.heads + task.head) * size.head_size;
      for (std::int64_t c = 0; c < size.head_size; c += cpu::kLanes<T>)
        cpu::store_some(target + c, load(work.block_out + row * width + c) * work.inverse_sum[row], size.head_size - c);
    }
  }
}

/// Gradients of tokens [first, first + kLanes) given `factor` times those of unit = x / max(norm, floor), norms as WindowWorkspace says;
/// write(i, gradient of kLanes channels of token i, first of them). Returns <dunit, unit> of each token.
template <class T, class Write>
Vector<T> normalise_backward(std::int64_t width, const T* unit, const T* norms, const T* dunit, T factor, Write&& write) {
  constexpr int L = cpu::kLanes<T>;
  Vector<T> dots[L];
#pragma GCC unroll 16
  for (int i = 0; i < L; ++i) {
    dots[i] = Vector<T>{};
    for (std::int64_t c = i * width; c < (i + 1) * width; c += L) dots[i] += load(dunit + c) * load(unit + c);
  }
  const Vector<T> along = cpu::sums_of_lanes<L, T>(dots), norm = load(norms);
  T unit_factors[L], factors[L];
  store(factors, factor / (norm > T(0) ? norm : -norm));
  store(unit_factors, norm > T(0) ? along : Vector<T>{});
  for (int i = 0; i < L; ++i) {
    for (std::int64_t c = 0; c < width; c += L)
      write(i, (load(dunit + i * width + c) - load(unit + i * width + c) * unit_factors[i]) * factors[i], c);
  }
  return along;
}

/// dscores = p (dp - <p, dp>) for queries from `first` on, with p = e inverse_sum, where dscores hold dp inverse_sum, not yet scaled by
/// dropout, and scores hold e, which becomes what v was multiplied with. Adds to what the workspace holds of dbias, if that is wanted.
template <class T>
void softmax_backward(std::int64_t first, bool drops, bool wants_bias, WindowWorkspace<T>& work) {
  constexpr int L = cpu::kLanes<T>;
  const std::int64_t rows = std::min(kBlockRows, work.tokens() - first), keys = work.keys(), step = work.step();
  if (drops) multiply_into(kBlockRows * step, work.kept, work.dscores);
  T along[kBlockRows];  // of all rows first, as maxima in exponentials()
  for (std::int64_t row = 0; row < rows; ++row) {
    const T *e = work.scores + row * step, *dp = work.dscores + row * step;
    Vector<T> products{};
    for (std::int64_t j = 0; j < keys; j += L) products += load(e + j) * load(dp + j);
    along[row] = cpu::sum_of_lanes<T>(products) * work.inverse_sum[row];
  }
  for (std::int64_t row = 0; row < rows; ++row) {
    const T* e = work.scores + row * step;
    T *dscores = work.dscores + row * step, *dbias = wants_bias ? work.dbias_of(first + row) : nullptr;
    for (std::int64_t j = 0; j < keys; j += L) {
      const Vector<T> dscore = load(e + j) * (load(dscores + j) - along[row]);
      store(dscores + j, dscore);
      if (wants_bias) store(dbias + j, load(dbias + j) + dscore);
    }
  }
  if (drops) multiply_into(kBlockRows * step, work.kept, work.scores);
}

/// Queries [first, first + kBlockRows) backward: adds to dk, dv and dbias, writes dq; returns the gradient of the scale times the scale.
template <class T>
double backward_block(const WindowAttentionSize& size, const WindowTask& task, std::int64_t first, WindowWorkspace<T>& work,
                      bool wants_bias, T* dqkv) {
  constexpr int L = cpu::kLanes<T>;
  const std::int64_t keys = work.keys(), width = work.width(), step = work.step();
  const Rows<const T> dy{work.dy + first * width, width}, q{work.q + first * width, width};
  work.exponentials(first);
  const bool drops = size.dropout.probability > 0.0;
  if (drops) dropout_factors(size, task, first, work, work.kept);
  // Exponentials stay as they are: what they are multiplied with is divided by their sums, which are fewer numbers.
  for (std::int64_t row = 0; row < kBlockRows; ++row) {
    T* dy_row = work.dy + (first + row) * width;
    for (std::int64_t c = 0; c < width; c += L) store(dy_row + c, load(dy_row + c) * work.inverse_sum[row]);
  }
  small_product<T, Layout::rows>(kBlockRows, keys, size.head_size, {dy.data, width}, {work.v_transposed, step}, {work.dscores, step});
  softmax_backward(first, drops, wants_bias, work);
  small_product_from<T, Layout::columns>({work.dv, width}, keys, width, kBlockRows, {work.scores, step}, dy, {work.dv, width});
  small_product_from<T, Layout::columns>({work.dk, width}, keys, width, kBlockRows, {work.dscores, step}, q, {work.dk, width});
  small_product<T, Layout::rows>(kBlockRows, width, keys, {work.dscores, step}, {work.k, width}, {work.block_out, width});
  double dscale = 0;  // terms of both signs cancel
  for (std::int64_t row = 0; row < kBlockRows; row += L) {
    const auto write = [&](int i, Vector<T> dq, std::int64_t channel) { work.write_part(first + row + i, 0, channel, dq, dqkv); };
    const Vector<T> along =
        normalise_backward(width, q.data + row * width, work.q_norm + first + row, work.block_out + row * width, work.scale(), write);
    for (int i = 0; i < L; ++i) dscale += static_cast<double>(along[i]);
  }
  return dscale * static_cast<double>(work.scale());
}

/// Returns the gradient of the logarithm of the scale.
template <class T>
double backward_task(const WindowAttentionSize& size, const WindowAttentionInputs<T>& in, const WindowTask& task, const T* dy,
                     WindowWorkspace<T>& work, bool wants_bias, T* dqkv) {
  gather(size, in, task, work);
  const std::int64_t tokens = work.tokens(), width = work.width();
  gather_part<T>(size.head_size, work, work.dy, nullptr,
                 [&](std::int64_t i) { return dy + (work.token(i) * size.heads + task.head) * size.head_size; });
  std::fill_n(work.dk, work.keys() * width, T(0));
  std::fill_n(work.dv, work.keys() * width, T(0));
  double dscale = 0;
  for (std::int64_t first = 0; first < tokens; first += kBlockRows) dscale += backward_block(size, task, first, work, wants_bias, dqkv);
  constexpr int L = cpu::kLanes<T>;
  for (std::int64_t first = 0; first < work.keys(); first += L) {
    const auto write = [&](int i, Vector<T> dk, std::int64_t channel) {
      work.write_part(first + i, 1, channel, dk, dqkv);
      work.write_part(first + i, 2, channel, load(work.dv + (first + i) * width + channel), dqkv);
    };
    normalise_backward(width, work.k + first * width, work.k_norm + first, work.dk + first * width, work.scale(), write);
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

/// dbias (offsets) = the sums of what a workspace holds of it.
template <class T>
void fold_bias(const WindowAttentionSize& size, const T* held, T* dbias) {
  std::fill_n(dbias, size.offsets(), T(0));
  cpu::for_bias_runs(size, [&](std::int64_t place, std::int64_t offset) {
#pragma omp simd
    for (std::int64_t j = 0; j < size.grid.window; ++j) dbias[offset + j] += held[place + j];
  });
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
        if (wants_bias) std::fill_n(work.dbias, cpu::bias_numbers(size), T(0));
        const std::int64_t head = part / parts, begin = per_head * (part % parts) / parts, end = per_head * (part % parts + 1) / parts;
        for (std::int64_t index = head * per_head + begin; index < head * per_head + end; ++index)
          dscale[static_cast<std::size_t>(index)] = backward_task(size, in, WindowTask(size, index), dy, work, wants_bias, to.qkv);
        if (wants_bias) fold_bias(size, work.dbias, partial + part * size.offsets());
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
