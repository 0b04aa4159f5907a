#include "runtime/kernels/attention.h"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "runtime/device/allocator.h"
#include "runtime/kernels/vector.h"

namespace trident {
namespace {

using cpu::Layout, cpu::load, cpu::small_product, cpu::small_product_from, cpu::store, cpu::Vector;

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

/// The memory of one thread, and what a task needs in it. Tokens are padded to whole tiles and vectors (keys), head sizes to whole vectors
/// (width), and rows of keys lie `step` apart; what is padded stays 0.
template <class T>
class Workspace {
 public:
  /// `memory`: numbers_of() of them, 64-byte aligned.
  Workspace(const WindowAttentionSize& size, bool backward, T* memory) : Workspace(size) {
    free_ = memory;
    std::fill_n(free_, numbers(backward), T(0));
    const std::int64_t panel = keys_ * width_, transposed = width_ * step_, block = kBlockRows * step_;
    q_transposed = take(transposed), k_transposed = take(transposed), v = take(panel);
    scores = take(block), block_out = take(kBlockRows * width_), inverse_sum = take(kBlockRows);
    kept = take(size.dropout.probability > 0.0 ? block : 0);
    q_norm = take(keys_), k_norm = take(keys_);
    if (tokens_ != keys_) padded_bias_ = take(keys_ * keys_);
    if (!backward) return;
    q = take(panel), k = take(panel), dy = take(panel), dk = take(panel), dv = take(panel);
    v_transposed = take(transposed), dscores = take(block);
  }

  /// Numbers of memory that one takes, a multiple of 64 bytes.
  static std::int64_t numbers_of(const WindowAttentionSize& size, bool backward) { return Workspace(size).numbers(backward); }

  /// Finds the tokens of the task's window, their regions, and the scale and position bias of its head.
  void enter(const Task& task, const WindowAttentionInputs<T>& in) {
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
    if (task.head != head_) enter_head(task.head, scale_of(in.logit_scale[task.head]), in.position_bias + task.head * tokens_ * tokens_);
  }

  std::int64_t token(std::int64_t i) const { return token_[static_cast<std::size_t>(i)]; }
  std::int64_t tokens() const { return tokens_; }
  std::int64_t keys() const { return keys_; }
  std::int64_t width() const { return width_; }
  std::int64_t step() const { return step_; }
  T scale() const { return scale_; }

  /// Where part (0 q, 1 k, 2 v) of token i lies in qkv.
  std::int64_t offset(std::int64_t i, std::int64_t part, std::int64_t head) const {
    return ((token(i) * 3 + part) * size_.heads + head) * size_.head_size;
  }

  /// The exponentials of the scores scale q.k + bias + mask of queries [first, first + kBlockRows), and what they are to be multiplied with.
  /// The cosines q.k are summed on their own: started from a bias of up to 16, each of their terms would be rounded to the bias's last bit.
  void exponentials(std::int64_t first) {
    small_product<T, Layout::columns>(kBlockRows, keys_, size_.head_size, {q_transposed + first, step_}, {k_transposed, step_}, {scores, step_});
    const std::int64_t rows = std::min(kBlockRows, tokens_ - first);
    for (std::int64_t row = 0; row < rows; ++row) {
      T* row_scores = scores + row * step_;
      Vector<T> largest = scale_and_bias(bias_ + (first + row) * keys_, row_scores);
      if (masked_) largest = mask(first + row, row_scores);
      inverse_sum[row] = T(1) / exponentiate(cpu::largest_lane<T>(largest), row_scores);
    }
    std::fill_n(inverse_sum + rows, kBlockRows - rows, T(0));
  }

  T *q_transposed = nullptr, *k_transposed = nullptr, *v_transposed = nullptr;  // (width, step); q and k normalised
  T *q = nullptr, *k = nullptr, *v = nullptr;                                   // (keys, width), the same
  T *scores = nullptr, *dscores = nullptr;                                      // (kBlockRows, step)
  T* kept = nullptr;                                                            // (kBlockRows, step) factors of dropout
  T *block_out = nullptr, *inverse_sum = nullptr;                               // (kBlockRows, width), (kBlockRows,)
  T *dy = nullptr, *dk = nullptr, *dv = nullptr;                                // (keys, width)
  T *q_norm = nullptr, *k_norm = nullptr;                                       // (keys,) norms; negative floor where it was taken

 private:
  explicit Workspace(const WindowAttentionSize& size)
      : size_(size),
        tokens_(size.tokens()),
        keys_(round_up(tokens_, std::max<std::int64_t>(cpu::kLanes<T>, kBlockRows))),
        width_(round_up(size.head_size, cpu::kLanes<T>)),
        step_(keys_ < cpu::kRowStep ? cpu::kRowStep : keys_ + cpu::kLanes<T>),
        token_(static_cast<std::size_t>(tokens_)),
        region_(static_cast<std::size_t>(keys_)) {}

  std::int64_t numbers(bool backward) const {
    const std::int64_t panel = keys_ * width_, transposed = width_ * step_, block = kBlockRows * step_;
    const std::int64_t forward = panel + 2 * transposed + 2 * block + kBlockRows * (width_ + 1) + 2 * keys_ + (tokens_ != keys_ ? keys_ * keys_ : 0);
    return round_up(forward + (backward ? 5 * panel + transposed + block : 0), 16);
  }
  T* take(std::int64_t count) {
    T* taken = free_;
    free_ += round_up(count, 16);
    return taken;
  }

  void enter_head(std::int64_t head, T scale, const T* bias) {
    head_ = head;
    scale_ = scale;
    bias_ = bias;
    if (padded_bias_ == nullptr) return;
    std::fill_n(padded_bias_, keys_ * keys_, static_cast<T>(kPaddedScore));
    for (std::int64_t query = 0; query < tokens_; ++query) std::copy_n(bias + query * tokens_, tokens_, padded_bias_ + query * keys_);
    bias_ = padded_bias_;
  }

  /// row = scale row + bias; returns the maximum by lanes.
  Vector<T> scale_and_bias(const T* bias, T* row) const {
    constexpr int L = cpu::kLanes<T>;
    const Vector<T> scale = cpu::broadcast(scale_);
    Vector<T> largest = scale * load(row) + load(bias);
    for (std::int64_t key = 0; key < keys_; key += L) {
      const Vector<T> score = scale * load(row + key) + load(bias + key);
      store(row + key, score);
      largest = cpu::maximum<T>(largest, score);
    }
    return largest;
  }

  /// Adds the mask to a row; returns the new maximum by lanes.
  Vector<T> mask(std::int64_t query, T* row) const {
    const T own = region_[static_cast<std::size_t>(query)];
    const T* regions = region_.data();
#pragma omp simd
    for (std::int64_t key = 0; key < tokens_; ++key) row[key] += regions[key] != own ? static_cast<T>(kMaskValue) : T(0);
    constexpr int L = cpu::kLanes<T>;
    Vector<T> largest = load(row);
    for (std::int64_t key = L; key < keys_; key += L) largest = cpu::maximum<T>(largest, load(row + key));
    return largest;
  }

  /// row = e^(row - its maximum); returns the sum. The maximum first: without it exp overflows f32 above 88.
  T exponentiate(T maximum, T* row) const {
    constexpr int L = cpu::kLanes<T>;
    const Vector<T> shift = cpu::broadcast(maximum);
    Vector<T> sum{};
    for (std::int64_t key = 0; key < keys_; key += L) {
      const Vector<T> value = cpu::exp_nonpositive(load(row + key) - shift);
      store(row + key, value);
      sum += value;
    }
    return cpu::sum_of_lanes<T>(sum);
  }

  const WindowAttentionSize& size_;
  std::int64_t tokens_, keys_, width_, step_;
  T* free_ = nullptr;
  std::vector<std::int64_t> token_;  // of the grid, per token of the window
  std::vector<T> region_;
  bool masked_ = false;
  std::int64_t head_ = -1;
  T scale_ = 0;               // of head_
  const T* bias_ = nullptr;   // (keys, keys) of head_
  T* padded_bias_ = nullptr;  // memory for it where the given one is not padded
};

/// Copies the vectors of a window's tokens, the first of which lies at source(0), to `rows` (keys, width) and to `transposed` (width, step);
/// either may be null.
template <class T, class Source>
void gather_part(std::int64_t count, const Workspace<T>& work, T* rows, T* transposed, Source&& source) {
  constexpr int L = cpu::kLanes<T>;
  for (std::int64_t token = 0; token < work.keys(); token += L) {
    for (std::int64_t channel = 0; channel < count; channel += L) {
      Vector<T> block[L];
      for (int i = 0; i < L; ++i) {
        block[i] = token + i < work.tokens() ? cpu::load_some(source(token + i) + channel, count - channel) : Vector<T>{};
        if (rows != nullptr) store(rows + (token + i) * work.width() + channel, block[i]);
      }
      if (transposed == nullptr) continue;
      cpu::transpose<T>(block);
      for (int i = 0; i < L; ++i) store(transposed + (channel + i) * work.step() + token, block[i]);
    }
  }
}

/// Divides every token by max(norm, floor), in both layouts (rows may be null); norms as Workspace says.
template <class T>
void normalise(std::int64_t count, const Workspace<T>& work, T* rows, T* transposed, T* norms) {
  constexpr int L = cpu::kLanes<T>;
  for (std::int64_t key = 0; key < work.keys(); key += L) {
    Vector<T> squares{};
    for (std::int64_t c = 0; c < count; ++c) squares += load(transposed + c * work.step() + key) * load(transposed + c * work.step() + key);
    T factors[L];
    for (int lane = 0; lane < L; ++lane) {
      const T norm = std::sqrt(squares[lane]), floor = static_cast<T>(kNormFloor);
      norms[key + lane] = norm < floor ? -floor : norm;
      factors[lane] = T(1) / std::max(norm, floor);
    }
    const Vector<T> by_lane = load(factors);
    for (std::int64_t c = 0; c < count; ++c) store(transposed + c * work.step() + key, load(transposed + c * work.step() + key) * by_lane);
    for (int lane = 0; lane < L && rows != nullptr; ++lane) {
      T* row = rows + (key + lane) * work.width();
      for (std::int64_t c = 0; c < work.width(); c += L) store(row + c, load(row + c) * factors[lane]);
    }
  }
}

template <class T>
void gather(const WindowAttentionSize& size, const WindowAttentionInputs<T>& in, const Task& task, Workspace<T>& work) {
  work.enter(task, in);
  const auto part = [&](std::int64_t number) { return [&, number](std::int64_t i) { return in.qkv + work.offset(i, number, task.head); }; };
  gather_part(size.head_size, work, work.q, work.q_transposed, part(0));
  gather_part(size.head_size, work, work.k, work.k_transposed, part(1));
  gather_part(size.head_size, work, work.v, work.v_transposed, part(2));
  normalise(size.head_size, work, work.q, work.q_transposed, work.q_norm);
  normalise(size.head_size, work, work.k, work.k_transposed, work.k_norm);
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
void forward_task(const WindowAttentionSize& size, const WindowAttentionInputs<T>& in, const Task& task, Workspace<T>& work, T* y) {
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

/// Queries [first, first + kBlockRows) backward: adds to dk and dv, writes dq, adds to dbias; returns the gradient of the scale times the scale.
template <class T>
double backward_block(const WindowAttentionSize& size, const Task& task, std::int64_t first, Workspace<T>& work, T* dbias, T* dqkv) {
  const std::int64_t tokens = work.tokens(), keys = work.keys(), width = work.width(), step = work.step();
  const std::int64_t rows = std::min(kBlockRows, tokens - first);
  work.exponentials(first);
  const bool drops = size.dropout.probability > 0.0;
  if (drops) dropout_factors(size, task, first, work, work.kept);
  small_product<T, Layout::rows>(kBlockRows, keys, size.head_size, {work.dy + first * width, width}, {work.v_transposed, step},
                                 {work.dscores, step});
  softmax_backward(keys, step, work.inverse_sum, drops ? work.kept : nullptr, work.scores, work.dscores);
  for (std::int64_t row = 0; row < rows && dbias != nullptr; ++row) {
    T* target = dbias + (first + row) * tokens;
    const T* source = work.dscores + row * step;
#pragma omp simd
    for (std::int64_t j = 0; j < tokens; ++j) target[j] += source[j];
  }
  small_product_from<T, Layout::columns>({work.dv, width}, keys, width, kBlockRows, {work.scores, step}, {work.dy + first * width, width}, {work.dv, width});
  small_product_from<T, Layout::columns>({work.dk, width}, keys, width, kBlockRows, {work.dscores, step}, {work.q + first * width, width}, {work.dk, width});
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
double backward_task(const WindowAttentionSize& size, const WindowAttentionInputs<T>& in, const Task& task, const T* dy, Workspace<T>& work, T* dbias,
                T* dqkv) {
  gather(size, in, task, work);
  const std::int64_t tokens = work.tokens(), width = work.width();
  gather_part<T>(size.head_size, work, work.dy, nullptr,
                 [&](std::int64_t i) { return dy + (work.token(i) * size.heads + task.head) * size.head_size; });
  std::fill_n(work.dk, work.keys() * width, T(0));
  std::fill_n(work.dv, work.keys() * width, T(0));
  double dscale = 0;
  for (std::int64_t first = 0; first < tokens; first += kBlockRows) dscale += backward_block(size, task, first, work, dbias, dqkv);
  for (std::int64_t i = 0; i < tokens; ++i) {
    normalise_backward(size.head_size, work.k + i * width, work.k_norm[i], work.dk + i * width, work.scale(), dqkv + work.offset(i, 1, task.head));
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
  const std::int64_t numbers = Workspace<T>::numbers_of(size, false);
  const Block memory(static_cast<std::size_t>(omp_get_max_threads() * numbers) * sizeof(T), {});
#pragma omp parallel
  {
    const Share share(tasks, omp_get_thread_num(), omp_get_num_threads());
    Workspace<T> work(size, false, static_cast<T*>(memory.data()) + omp_get_thread_num() * numbers);
    for (std::int64_t index = share.begin; index < share.end; ++index) forward_task(size, in, Task(size, index), work, y);
  }
}

template <class T>
void window_attention_backward(Cpu, const WindowAttentionSize& size, WindowAttentionInputs<T> in, const T* dy, WindowAttentionGradients<T> to) {
  const std::int64_t tasks = size.heads * size.tasks_per_head(), per_head = size.tasks_per_head(), bias_numbers = size.tokens() * size.tokens();
  const std::int64_t most_threads = omp_get_max_threads();
  const Block scratch(to.position_bias == nullptr ? 0 : static_cast<std::size_t>(most_threads * bias_numbers) * sizeof(T), {});
  T* partial = static_cast<T*>(scratch.data());
  const std::int64_t numbers = Workspace<T>::numbers_of(size, true);
  const Block memory(static_cast<std::size_t>(most_threads * numbers) * sizeof(T), {});
  std::vector<double> dscale(static_cast<std::size_t>(tasks));
  std::int64_t threads = 1;
  if (to.position_bias != nullptr && tasks == 0) std::fill_n(to.position_bias, size.heads * bias_numbers, T(0));
#pragma omp parallel if (tasks > 0)
  {
#pragma omp single
    threads = omp_get_num_threads();
    const Share share(tasks, omp_get_thread_num(), threads);
    Workspace<T> work(size, true, static_cast<T*>(memory.data()) + omp_get_thread_num() * numbers);
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
    for (std::int64_t i = head * per_head; i < (head + 1) * per_head; ++i) sum += dscale[static_cast<std::size_t>(i)];
    to.logit_scale[head] = in.logit_scale[head] <= static_cast<T>(std::log(100.0)) ? static_cast<T>(sum) : T(0);
  }
}

#define TRIDENT_ATTENTION(T)                                                                                           \
  template void window_attention_forward<T>(Cpu, const WindowAttentionSize&, WindowAttentionInputs<T>, T*);            \
  template void window_attention_backward<T>(Cpu, const WindowAttentionSize&, WindowAttentionInputs<T>, const T*, WindowAttentionGradients<T>);
TRIDENT_ATTENTION(float)
TRIDENT_ATTENTION(double)

}  // namespace trident
