#include "runtime/kernels/attention.h"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "runtime/device/allocator.h"
#include "runtime/kernels/activation.h"
#include "runtime/kernels/vector.h"

namespace trident {
namespace {

using cpu::small_product;

constexpr std::int64_t kBlockRows = 16;    // queries whose scores are held at a time: 16 rows of 256 keys fill half a first-level cache
constexpr double kNormFloor = 1e-12;       // of torch.nn.functional.normalize
constexpr double kMaskValue = -200.0;      // the reference adds its -100 twice
constexpr double kPaddedScore = -1e30;     // of keys that only fill up a vector: their probability is 0

std::int64_t round_up(std::int64_t value, std::int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

/// One head of one window of one sample, in the order head, sample, window row, window column.
struct Task {
  std::int64_t head, sample, window_y, window_x;
  Task(const WindowAttentionSize& size, std::int64_t index) {
    window_x = index % size.windows_x();
    window_y = index / size.windows_x() % size.windows_y();
    sample = index / (size.windows_x() * size.windows_y()) % size.batch;
    head = index / size.tasks_per_head();
  }
};

/// Region of the 3x3 slicing that a row (or column) of the global rolled grid belongs to.
int region(std::int64_t position, std::int64_t extent, const WindowGrid& grid) {
  return position < extent - grid.window ? 0 : position < extent - grid.mask_shift ? 1 : 2;
}

template <class T>
T scale_of(T logit_scale) { return std::exp(std::min(logit_scale, static_cast<T>(std::log(100.0)))); }

/// The memory of one thread, and what a task needs in it. Rows and keys are padded to whole tiles, head sizes to whole vectors.
template <class T>
class Workspace {
 public:
  Workspace(const WindowAttentionSize& size, bool backward)
      : size_(size),
        tokens_(size.tokens()),
        keys_(round_up(tokens_, std::max<std::int64_t>(cpu::kLanes<T>, kBlockRows))),
        width_(round_up(size.head_size, cpu::kLanes<T>)),
        block_(static_cast<std::size_t>(numbers(backward)) * sizeof(T), {}),
        free_(static_cast<T*>(block_.data())),
        token_(static_cast<std::size_t>(tokens_)),
        region_(static_cast<std::size_t>(keys_)) {
    std::fill_n(free_, numbers(backward), T(0));
    q = take(keys_ * width_);
    v = take(keys_ * width_);
    k_transposed = take(size.head_size * keys_);
    scores = take(kBlockRows * keys_);
    block_out = take(kBlockRows * width_);
    q_norm = take(keys_);
    k_norm = take(keys_);
    if (!backward) return;
    k = take(keys_ * width_);
    dy = take(keys_ * width_);
    dk = take(keys_ * width_);
    dv = take(keys_ * width_);
    v_transposed = take(size.head_size * keys_);
    dscores = take(kBlockRows * keys_);
    kept = take(kBlockRows * keys_);
  }

  /// Finds the tokens of the window, and their regions.
  void enter(const Task& task) {
    const WindowGrid& grid = size_.grid;
    masked_ = false;
    for (std::int64_t i = 0; i < tokens_; ++i) {
      const std::int64_t row = task.window_y * grid.window + i / grid.window, column = task.window_x * grid.window + i % grid.window;
      token_[static_cast<std::size_t>(i)] =
          (task.sample * size_.ny + (row + grid.roll) % size_.ny) * size_.nx + (column + grid.roll) % size_.nx;
      if (grid.mask_shift == 0) continue;
      region_[static_cast<std::size_t>(i)] = static_cast<T>(3 * region(grid.first_row + row, grid.global_rows, grid) +
                                                            region(grid.first_column + column, grid.global_columns, grid));
      masked_ = masked_ || region_[static_cast<std::size_t>(i)] != region_[0];
    }
  }

  std::int64_t token(std::int64_t i) const { return token_[static_cast<std::size_t>(i)]; }
  std::int64_t tokens() const { return tokens_; }
  std::int64_t keys() const { return keys_; }
  std::int64_t width() const { return width_; }

  /// Where part (0 q, 1 k, 2 v) of token i lies in qkv.
  std::int64_t offset(std::int64_t i, std::int64_t part, std::int64_t head) const {
    return ((token(i) * 3 + part) * size_.heads + head) * size_.head_size;
  }

  /// Scores of queries [first, first + kBlockRows): scale q.k + bias + mask, exponentiated and divided by their sum.
  void probabilities(std::int64_t first, const T* bias) {
    small_product<T, false>(kBlockRows, keys_, size_.head_size, {q + first * width_, width_, 1}, {k_transposed, keys_}, {scores, keys_});
    for (std::int64_t row = 0; row < std::min(kBlockRows, tokens_ - first); ++row) softmax(first + row, scores + row * keys_, bias);
  }

  T *q, *k = nullptr, *v;                      // (keys, width); q times scale, both normalised
  T *k_transposed, *v_transposed = nullptr;    // (head size, keys)
  T *scores, *dscores = nullptr;               // (kBlockRows, keys)
  T* kept = nullptr;                           // (kBlockRows, keys) factors of dropout
  T* block_out;                                // (kBlockRows, width)
  T *dy = nullptr, *dk = nullptr, *dv = nullptr;  // (keys, width)
  T *q_norm, *k_norm;                          // (keys,) max(norm, floor); negative where the floor was taken

 private:
  std::int64_t numbers(bool backward) const {
    const std::int64_t panel = round_up(keys_ * width_, 16), transposed = round_up(size_.head_size * keys_, 16), block = kBlockRows * keys_;
    const std::int64_t forward = 2 * panel + transposed + block + kBlockRows * width_ + 2 * round_up(keys_, 16);
    return forward + (backward ? 4 * panel + transposed + 2 * block : 0);
  }
  T* take(std::int64_t count) {
    T* taken = free_;
    free_ += round_up(count, 16);
    return taken;
  }

  void softmax(std::int64_t query, T* row, const T* bias) const {
    const T* bias_row = bias + query * tokens_;
    if (masked_) {
      const T own = region_[static_cast<std::size_t>(query)];
      const T* regions = region_.data();
#pragma omp simd
      for (std::int64_t key = 0; key < tokens_; ++key) row[key] += regions[key] != own ? static_cast<T>(kMaskValue) : T(0);
    }
    T largest = static_cast<T>(kPaddedScore);
#pragma omp simd reduction(max : largest)
    for (std::int64_t key = 0; key < tokens_; ++key) {
      row[key] += bias_row[key];
      largest = std::max(largest, row[key]);
    }
    for (std::int64_t key = tokens_; key < keys_; ++key) row[key] = static_cast<T>(kPaddedScore);
    T sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t key = 0; key < keys_; ++key) {
      row[key] = fast_exp(row[key] - largest);
      sum += row[key];
    }
    const T inverse = T(1) / sum;
#pragma omp simd
    for (std::int64_t key = 0; key < keys_; ++key) row[key] *= inverse;
  }

  const WindowAttentionSize& size_;
  std::int64_t tokens_, keys_, width_;
  Block block_;
  T* free_;
  std::vector<std::int64_t> token_;  // of the grid, per token of the window
  std::vector<T> region_;
  bool masked_ = false;
};

/// target = scale * source / max(norm, floor); returns the norm, negative where the floor was taken instead.
template <class T>
T normalise(std::int64_t count, const T* source, T scale, T* target) {
  T squares = 0;
#pragma omp simd reduction(+ : squares)
  for (std::int64_t c = 0; c < count; ++c) squares += source[c] * source[c];
  const T norm = std::sqrt(squares), floor = static_cast<T>(kNormFloor);
  const T divisor = std::max(norm, floor);
#pragma omp simd
  for (std::int64_t c = 0; c < count; ++c) target[c] = source[c] / divisor * scale;
  return norm < floor ? -floor : norm;
}

template <class T>
void gather(const WindowAttentionSize& size, const WindowAttentionInputs<T>& in, const Task& task, Workspace<T>& work) {
  work.enter(task);
  const T scale = scale_of(in.logit_scale[task.head]);
  std::vector<T> key(static_cast<std::size_t>(size.head_size));
  for (std::int64_t i = 0; i < work.tokens(); ++i) {
    work.q_norm[i] = normalise(size.head_size, in.qkv + work.offset(i, 0, task.head), scale, work.q + i * work.width());
    T* k = work.k != nullptr ? work.k + i * work.width() : key.data();
    work.k_norm[i] = normalise(size.head_size, in.qkv + work.offset(i, 1, task.head), T(1), k);
    for (std::int64_t c = 0; c < size.head_size; ++c) work.k_transposed[c * work.keys() + i] = k[c];
    std::copy_n(in.qkv + work.offset(i, 2, task.head), size.head_size, work.v + i * work.width());
  }
}

/// Factors of dropout, 0 or 1 / (1 - p), for queries [first, first + rows) of a task.
template <class T>
void dropout_factors(const WindowAttentionSize& size, const Task& task, std::int64_t first, const Workspace<T>& work, T* factors) {
  const AttentionDropout& dropout = size.dropout;
  const RandomKey key = dropout.key.fold(static_cast<std::uint64_t>(dropout.first_sample + task.sample))
                            .fold(static_cast<std::uint64_t>(size.grid.first_row / size.grid.window + task.window_y))
                            .fold(static_cast<std::uint64_t>(size.grid.first_column / size.grid.window + task.window_x))
                            .fold(static_cast<std::uint64_t>(dropout.first_head + task.head));
  const T factor = static_cast<T>(1.0 / (1.0 - dropout.probability));
  for (std::int64_t row = 0; row < std::min(kBlockRows, work.tokens() - first); ++row) {
    for (std::int64_t j = 0; j < work.tokens(); ++j) {
      const bool keep = uniform(key, static_cast<std::uint64_t>((first + row) * work.tokens() + j)) >= dropout.probability;
      factors[row * work.keys() + j] = keep ? factor : T(0);
    }
  }
}

template <class T>
void multiply_into(std::int64_t count, const T* factors, T* values) {
#pragma omp simd
  for (std::int64_t i = 0; i < count; ++i) values[i] *= factors[i];
}

template <class T>
void forward_task(const WindowAttentionSize& size, const WindowAttentionInputs<T>& in, const Task& task, Workspace<T>& work, T* y) {
  gather(size, in, task, work);
  const T* bias = in.position_bias + task.head * work.tokens() * work.tokens();
  std::vector<T> factors(size.dropout.probability > 0.0 ? static_cast<std::size_t>(kBlockRows * work.keys()) : 0);
  for (std::int64_t first = 0; first < work.tokens(); first += kBlockRows) {
    work.probabilities(first, bias);
    if (!factors.empty()) {
      dropout_factors(size, task, first, work, factors.data());
      multiply_into(kBlockRows * work.keys(), factors.data(), work.scores);
    }
    small_product<T, false>(kBlockRows, work.width(), work.keys(), {work.scores, work.keys(), 1}, {work.v, work.width()},
                            {work.block_out, work.width()});
    for (std::int64_t row = 0; row < std::min(kBlockRows, work.tokens() - first); ++row) {
      std::copy_n(work.block_out + row * work.width(), size.head_size, y + (work.token(first + row) * size.heads + task.head) * size.head_size);
    }
  }
}

/// dx = the gradient of x given that of x / max(norm, floor) = unit / scale.
template <class T>
void normalise_backward(std::int64_t count, const T* unit, T scale, T norm, const T* dunit, T* dx) {
  T along = 0;
  if (norm > T(0)) {
#pragma omp simd reduction(+ : along)
    for (std::int64_t c = 0; c < count; ++c) along += dunit[c] * unit[c];
  }
  along /= scale * scale;
  const T divisor = std::abs(norm);
#pragma omp simd
  for (std::int64_t c = 0; c < count; ++c) dx[c] = (dunit[c] - unit[c] * along) / divisor;
}

/// dscores = p (dp - <p, dp>), row by row, with dp scaled by dropout first; p becomes what v was multiplied with.
template <class T>
void softmax_backward(std::int64_t rows, std::int64_t keys, const T* kept, T* p, T* dp) {
  for (std::int64_t row = 0; row < rows; ++row) {
    T *p_row = p + row * keys, *dp_row = dp + row * keys;
    if (kept != nullptr) multiply_into(keys, kept + row * keys, dp_row);
    T along = 0;
#pragma omp simd reduction(+ : along)
    for (std::int64_t j = 0; j < keys; ++j) along += p_row[j] * dp_row[j];
#pragma omp simd
    for (std::int64_t j = 0; j < keys; ++j) dp_row[j] = p_row[j] * (dp_row[j] - along);
    if (kept != nullptr) multiply_into(keys, kept + row * keys, p_row);
  }
}

/// Queries [first, first + kBlockRows) backward: adds to dk and dv, writes dq, adds to dbias; returns the gradient of the scale times the scale.
template <class T>
T backward_block(const WindowAttentionSize& size, const WindowAttentionInputs<T>& in, const Task& task, std::int64_t first, Workspace<T>& work,
                 T* dbias, T* dqkv) {
  const std::int64_t tokens = work.tokens(), keys = work.keys(), width = work.width(), rows = std::min(kBlockRows, tokens - first);
  work.probabilities(first, in.position_bias + task.head * tokens * tokens);
  for (std::int64_t row = rows; row < kBlockRows; ++row) std::fill_n(work.scores + row * keys, keys, T(0));
  const bool drops = size.dropout.probability > 0.0;
  if (drops) dropout_factors(size, task, first, work, work.kept);
  small_product<T, false>(kBlockRows, keys, size.head_size, {work.dy + first * width, width, 1}, {work.v_transposed, keys}, {work.dscores, keys});
  softmax_backward(kBlockRows, keys, drops ? work.kept : nullptr, work.scores, work.dscores);
  for (std::int64_t row = 0; row < rows && dbias != nullptr; ++row) {
    T* target = dbias + (first + row) * tokens;
    const T* source = work.dscores + row * keys;
#pragma omp simd
    for (std::int64_t j = 0; j < tokens; ++j) target[j] += source[j];
  }
  small_product<T, true>(keys, width, kBlockRows, {work.scores, 1, keys}, {work.dy + first * width, width}, {work.dv, width});
  small_product<T, true>(keys, width, kBlockRows, {work.dscores, 1, keys}, {work.q + first * width, width}, {work.dk, width});
  small_product<T, false>(kBlockRows, width, keys, {work.dscores, keys, 1}, {work.k, width}, {work.block_out, width});
  const T scale = scale_of(in.logit_scale[task.head]);
  T dscale = 0;
  for (std::int64_t row = 0; row < rows; ++row) {
    T *dq = work.block_out + row * width, *q = work.q + (first + row) * width;
    T along = 0;
#pragma omp simd reduction(+ : along)
    for (std::int64_t c = 0; c < size.head_size; ++c) {
      along += dq[c] * q[c];
      dq[c] *= scale;
    }
    dscale += along;
    normalise_backward(size.head_size, q, scale, work.q_norm[first + row], dq, dqkv + work.offset(first + row, 0, task.head));
  }
  return dscale;
}

/// Returns the gradient of the logarithm of the scale.
template <class T>
T backward_task(const WindowAttentionSize& size, const WindowAttentionInputs<T>& in, const Task& task, const T* dy, Workspace<T>& work, T* dbias,
                T* dqkv) {
  gather(size, in, task, work);
  const std::int64_t tokens = work.tokens(), width = work.width();
  for (std::int64_t i = 0; i < tokens; ++i) {
    for (std::int64_t c = 0; c < size.head_size; ++c) work.v_transposed[c * work.keys() + i] = work.v[i * width + c];
    std::copy_n(dy + (work.token(i) * size.heads + task.head) * size.head_size, size.head_size, work.dy + i * width);
  }
  std::fill_n(work.dk, work.keys() * width, T(0));
  std::fill_n(work.dv, work.keys() * width, T(0));
  T dscale = 0;
  for (std::int64_t first = 0; first < tokens; first += kBlockRows) dscale += backward_block(size, in, task, first, work, dbias, dqkv);
  for (std::int64_t i = 0; i < tokens; ++i) {
    normalise_backward(size.head_size, work.k + i * width, T(1), work.k_norm[i], work.dk + i * width, dqkv + work.offset(i, 1, task.head));
    std::copy_n(work.dv + i * width, size.head_size, dqkv + work.offset(i, 2, task.head));
  }
  return dscale;
}

/// Tasks [begin, end) of a thread out of all of them.
struct Share {
  std::int64_t begin, end;
  Share(std::int64_t tasks, std::int64_t thread, std::int64_t threads) : begin(tasks * thread / threads), end(tasks * (thread + 1) / threads) {}
};

/// Adds the sums of threads that began in the middle of a head, in the order of threads.
template <class T>
void add_partial_biases(const WindowAttentionSize& size, std::int64_t threads, const T* partial, T* dbias) {
  const std::int64_t count = size.tokens() * size.tokens(), tasks = size.heads * size.tasks_per_head();
  for (std::int64_t thread = 1; thread < threads; ++thread) {
    const Share share(tasks, thread, threads);
    if (share.begin == share.end || share.begin % size.tasks_per_head() == 0) continue;
    T* target = dbias + share.begin / size.tasks_per_head() * count;
    const T* source = partial + thread * count;
#pragma omp parallel for simd schedule(static)
    for (std::int64_t i = 0; i < count; ++i) target[i] += source[i];
  }
}

}  // namespace

template <class T>
void window_attention_forward(Cpu, const WindowAttentionSize& size, WindowAttentionInputs<T> in, T* y) {
  const std::int64_t tasks = size.heads * size.tasks_per_head();
  if (tasks == 0) return;
#pragma omp parallel
  {
    const Share share(tasks, omp_get_thread_num(), omp_get_num_threads());
    Workspace<T> work(size, false);
    for (std::int64_t index = share.begin; index < share.end; ++index) forward_task(size, in, Task(size, index), work, y);
  }
}

template <class T>
void window_attention_backward(Cpu, const WindowAttentionSize& size, WindowAttentionInputs<T> in, const T* dy, WindowAttentionGradients<T> to) {
  const std::int64_t tasks = size.heads * size.tasks_per_head(), per_head = size.tasks_per_head(), bias_numbers = size.tokens() * size.tokens();
  const std::int64_t most_threads = omp_get_max_threads();
  const Block scratch(to.position_bias == nullptr ? 0 : static_cast<std::size_t>(most_threads * bias_numbers) * sizeof(T), {});
  T* partial = static_cast<T*>(scratch.data());
  std::vector<T> dscale(static_cast<std::size_t>(tasks));
  std::int64_t threads = 1;
  if (to.position_bias != nullptr && tasks == 0) std::fill_n(to.position_bias, size.heads * bias_numbers, T(0));
#pragma omp parallel if (tasks > 0)
  {
#pragma omp single
    threads = omp_get_num_threads();
    const Share share(tasks, omp_get_thread_num(), threads);
    Workspace<T> work(size, true);
    T* dbias = nullptr;
    for (std::int64_t index = share.begin; index < share.end; ++index) {
      const Task task(size, index);
      if (to.position_bias != nullptr && (index == share.begin || index % per_head == 0)) {
        // The thread that begins a head owns its sum; one that begins in the middle of a head adds up beside it.
        dbias = index % per_head == 0 ? to.position_bias + task.head * bias_numbers : partial + omp_get_thread_num() * bias_numbers;
        std::fill_n(dbias, bias_numbers, T(0));
      }
      dscale[static_cast<std::size_t>(index)] = backward_task(size, in, task, dy, work, dbias, to.qkv);
    }
  }
  if (to.position_bias != nullptr) add_partial_biases(size, threads, partial, to.position_bias);
  for (std::int64_t head = 0; head < size.heads && to.logit_scale != nullptr; ++head) {
    double sum = 0.0;
    for (std::int64_t i = head * per_head; i < (head + 1) * per_head; ++i) sum += static_cast<double>(dscale[static_cast<std::size_t>(i)]);
    to.logit_scale[head] = in.logit_scale[head] <= static_cast<T>(std::log(100.0)) ? static_cast<T>(sum) : T(0);
  }
}

#define TRIDENT_ATTENTION(T)                                                                                           \
  template void window_attention_forward<T>(Cpu, const WindowAttentionSize&, WindowAttentionInputs<T>, T*);            \
  template void window_attention_backward<T>(Cpu, const WindowAttentionSize&, WindowAttentionInputs<T>, const T*, WindowAttentionGradients<T>);
TRIDENT_ATTENTION(float)
TRIDENT_ATTENTION(double)

}  // namespace trident
