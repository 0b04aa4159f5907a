/// What the CPU's window attention holds of one head of one window, and what it does with it in both directions: finding the window's
/// tokens, gathering and normalising their vectors, the exponentials of the scores. Included by attention_cpu.cpp alone.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "runtime/device/allocator.h"
#include "runtime/kernels/attention.h"
#include "runtime/kernels/vector.h"

namespace trident::cpu {

/// Queries whose scores are held at a time: 16 rows of 256 keys fill half a first-level cache.
inline constexpr std::int64_t kBlockRows = 16;
inline constexpr double kNormFloor = 1e-12;    // of torch.nn.functional.normalize
inline constexpr double kMaskValue = -200.0;   // the reference adds its -100 twice
inline constexpr double kPaddedScore = -1e30;  // of keys that only fill up a vector: their probability is 0

inline std::int64_t round_up(std::int64_t value, std::int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

/// One head of one window of one sample, in the order head, sample, window row, window column.
struct WindowTask {
  std::int64_t head, sample, window_y, window_x;
  WindowTask(const WindowAttentionSize& size, std::int64_t index) {
    window_x = index % size.windows_x();
    window_y = index / size.windows_x() % size.windows_y();
    sample = index / (size.windows_x() * size.windows_y()) % size.batch;
    head = index / size.tasks_per_head();
  }
};

/// Region of the 3x3 slicing that a row (or column) of the global rolled grid belongs to.
inline int region(std::int64_t position, std::int64_t extent, const WindowGrid& grid) {
  return position < extent - grid.window ? 0 : position < extent - grid.mask_shift ? 1 : 2;
}

/// Position biases of a head are held as (column of the query, rows by which the key stands behind it, column of the key): those of a
/// query's keys are one run of numbers, which that of the next query does not overlap, and all are few (32 kB for windows of 16x16).
inline std::int64_t bias_numbers(const WindowAttentionSize& size) {
  return size.grid.window * size.grid.window * (2 * size.grid.window - 1);
}
/// Where the biases of a query's first key lie.
inline std::int64_t bias_place(const WindowAttentionSize& size, std::int64_t query) {
  const std::int64_t window = size.grid.window;
  return (query % window * (2 * window - 1) + window - 1 - query / window) * window;
}
/// Calls visit(place, offset) for each run of `window` numbers of both.
template <class Visit>
void for_bias_runs(const WindowAttentionSize& size, Visit&& visit) {
  const std::int64_t window = size.grid.window, rows = 2 * window - 1;
  for (std::int64_t run = 0; run < window * rows; ++run) visit(run * window, run % rows * rows + window - 1 - run / rows);
}

template <class T>
T scale_of(T logit_scale) {
  return std::exp(std::min(logit_scale, static_cast<T>(std::log(100.0))));
}

/// The memory of one thread, and what a task needs in it. Tokens are padded to whole tiles and vectors (keys), head sizes to whole vectors
/// (width), and rows of keys lie `step` apart; what is padded stays 0.
template <class T>
class WindowWorkspace {
 public:
  WindowWorkspace(const WindowAttentionSize& size, bool backward)
      : size_(size),
        tokens_(size.tokens()),
        keys_(round_up(tokens_, std::max<std::int64_t>(kLanes<T>, kBlockRows))),
        width_(round_up(size.head_size, kLanes<T>)),
        step_(keys_ < kRowStep ? kRowStep : keys_ + kLanes<T>),
        token_(static_cast<std::size_t>(tokens_)),
        region_(static_cast<std::size_t>(keys_)) {
    const std::int64_t panel = keys_ * width_, transposed = width_ * step_, block = kBlockRows * step_;
    const std::int64_t biases = round_up(bias_numbers(size), 16) + keys_;  // read by whole vectors
    const std::int64_t forward = panel + 2 * transposed + 2 * block + kBlockRows * (width_ + 1) + 2 * keys_ + biases;
    const std::int64_t numbers = forward + (backward ? 5 * panel + transposed + block + biases : 0);
    memory_ = Block(static_cast<std::size_t>(numbers) * sizeof(T), {});
    free_ = static_cast<T*>(memory_.data());
    std::fill_n(free_, numbers, T(0));
    q_transposed = take(transposed), k_transposed = take(transposed), v = take(panel);
    scores = take(block), block_out = take(kBlockRows * width_), inverse_sum = take(kBlockRows);
    kept = take(size.dropout.probability > 0.0 ? block : 0);
    q_norm = take(keys_), k_norm = take(keys_);
    bias_ = take(biases);
    std::fill(region_.begin() + tokens_, region_.end(), T(-1));
    if (!backward) return;
    q = take(panel), k = take(panel), dy = take(panel), dk = take(panel), dv = take(panel);
    v_transposed = take(transposed), dscores = take(block), dbias = take(biases);
  }

  /// Finds the tokens of the task's window, their regions, and the scale and position bias of its head.
  void enter(const WindowTask& task, const WindowAttentionInputs<T>& in) {
    find_tokens(task);
    masked_ = keys_ > tokens_;
    if (size_.grid.mask_shift > 0) find_regions(task);
    if (task.head != head_) enter_head(task.head, scale_of(in.logit_scale[task.head]), in.position_bias + task.head * size_.offsets());
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

  /// Writes kLanes channels of part `part` of a token, those that there are.
  void write_part(std::int64_t i, std::int64_t part, std::int64_t channel, Vector<T> x, T* qkv) const {
    if (i < tokens_) store_some(qkv + offset(i, part, head_) + channel, x, size_.head_size - channel);
  }
  /// Where the gradients of the biases of a query's keys are held.
  T* dbias_of(std::int64_t query) const { return dbias + bias_place(size_, query); }

  /// The exponentials of the scores scale q.k + bias + mask of queries [first, first + kBlockRows), and what they are to be multiplied
  /// with. The cosines q.k are summed on their own: started from a bias of up to 16, each of their terms would be rounded to the bias's
  /// last bit.
  void exponentials(std::int64_t first) {
    small_product<T, Layout::columns>(kBlockRows, keys_, size_.head_size, {q_transposed + first, step_}, {k_transposed, step_},
                                      {scores, step_});
    const std::int64_t rows = std::min(kBlockRows, tokens_ - first);
    // All maxima first: a row's exponentials wait for its own, and there are too many of them for the next row's to begin meanwhile.
    T maxima[kBlockRows];
    for (std::int64_t row = 0; row < rows; ++row) {
      T* row_scores = scores + row * step_;
      Vector<T> largest = scale_and_bias(bias_ + bias_place(size_, first + row), row_scores);
      if (masked_) largest = mask(first + row, row_scores);
      maxima[row] = largest_lane<T>(largest);
    }
    for (std::int64_t row = 0; row < rows; ++row) inverse_sum[row] = T(1) / exponentiate(maxima[row], scores + row * step_);
    std::fill_n(inverse_sum + rows, kBlockRows - rows, T(0));
  }

  T *q_transposed = nullptr, *k_transposed = nullptr, *v_transposed = nullptr;  // (width, step); q and k normalised
  T *q = nullptr, *k = nullptr, *v = nullptr;                                   // (keys, width), the same
  T *scores = nullptr, *dscores = nullptr;                                      // (kBlockRows, step)
  T* kept = nullptr;                                                            // (kBlockRows, step) factors of dropout
  T *block_out = nullptr, *inverse_sum = nullptr;                               // (kBlockRows, width), (kBlockRows,)
  T *dy = nullptr, *dk = nullptr, *dv = nullptr;                                // (keys, width)
  T* dbias = nullptr;                                                           // of position biases, held like them
  T *q_norm = nullptr, *k_norm = nullptr;                                       // (keys,) norms; negative floor where it was taken

 private:
  T* take(std::int64_t count) {
    T* taken = free_;
    free_ += round_up(count, 16);
    return taken;
  }

  void find_tokens(const WindowTask& task) {
    const WindowGrid& grid = size_.grid;
    for (std::int64_t row = 0, i = 0; row < grid.window; ++row) {
      const std::int64_t y = (task.window_y * grid.window + row + grid.roll) % size_.ny;
      std::int64_t x = (task.window_x * grid.window + grid.roll) % size_.nx;
      for (std::int64_t column = 0; column < grid.window; ++column, ++i) {
        token_[static_cast<std::size_t>(i)] = (task.sample * size_.ny + y) * size_.nx + x;
        x = x + 1 < size_.nx ? x + 1 : 0;
      }
    }
  }

  void find_regions(const WindowTask& task) {
    const WindowGrid& grid = size_.grid;
    const std::int64_t first_row = grid.first_row + task.window_y * grid.window;
    const std::int64_t first_column = grid.first_column + task.window_x * grid.window;
    for (std::int64_t row = 0, i = 0; row < grid.window; ++row) {
      for (std::int64_t column = 0; column < grid.window; ++column, ++i) {
        region_[static_cast<std::size_t>(i)] =
            static_cast<T>(3 * region(first_row + row, grid.global_rows, grid) + region(first_column + column, grid.global_columns, grid));
        masked_ = masked_ || region_[static_cast<std::size_t>(i)] != region_[0];
      }
    }
  }

  void enter_head(std::int64_t head, T scale, const T* bias) {
    head_ = head;
    scale_ = scale;
    for_bias_runs(size_, [&](std::int64_t place, std::int64_t offset) { std::copy_n(bias + offset, size_.grid.window, bias_ + place); });
  }

  /// row = scale row + bias; returns the maximum by lanes.
  Vector<T> scale_and_bias(const T* bias, T* row) const {
    constexpr int L = kLanes<T>;
    const Vector<T> scale = broadcast(scale_);
    const std::int64_t keys = keys_;
    Vector<T> largest = scale * load(row) + load(bias);
#pragma GCC unroll 4
    for (std::int64_t key = 0; key < keys; key += L) {
      const Vector<T> score = scale * load(row + key) + load(bias + key);
      store(row + key, score);
      largest = maximum<T>(largest, score);
    }
    return largest;
  }

  /// Adds the mask to a row; returns the new maximum by lanes.
  Vector<T> mask(std::int64_t query, T* row) const {
    const T own = region_[static_cast<std::size_t>(query)];
    const T* regions = region_.data();
#pragma omp simd
    for (std::int64_t key = 0; key < keys_; ++key) {
      const T outside = regions[key] < T(0) ? static_cast<T>(kPaddedScore) : static_cast<T>(kMaskValue);
      row[key] += regions[key] != own ? outside : T(0);
    }
    constexpr int L = kLanes<T>;
    Vector<T> largest = load(row);
    for (std::int64_t key = L; key < keys_; key += L) largest = maximum<T>(largest, load(row + key));
    return largest;
  }

  /// row = e^(row - its maximum); returns the sum. The maximum first: without it exp overflows f32 above 88.
  T exponentiate(T maximum, T* row) const {
    constexpr int L = kLanes<T>;
    const Vector<T> shift = broadcast(maximum);
    const std::int64_t keys = keys_;
    Vector<T> sum{};
#pragma GCC unroll 4
    for (std::int64_t key = 0; key < keys; key += L) {
      const Vector<T> value = exp_nonpositive(load(row + key) - shift);
      store(row + key, value);
      sum += value;
    }
    return sum_of_lanes<T>(sum);
  }

  const WindowAttentionSize& size_;
  std::int64_t tokens_, keys_, width_, step_;
  Block memory_;
  T* free_ = nullptr;                // of it
  std::vector<std::int64_t> token_;  // of the grid, per token of the window
  std::vector<T> region_;            // (keys,); -1 of keys that only fill up a vector
  bool masked_ = false;
  std::int64_t head_ = -1;
  T scale_ = 0;        // of head_
  T* bias_ = nullptr;  // of head_, as bias_place() says
};

/// Copies the vectors of a window's tokens, the first of which lies at source(0), to `rows` (keys, width) and to `transposed` (width,
/// step); either may be null.
template <class T, class Source>
void gather_part(std::int64_t count, const WindowWorkspace<T>& work, T* rows, T* transposed, Source&& source) {
  constexpr int L = kLanes<T>;
  for (std::int64_t token = 0; token < work.keys(); token += L) {
    for (std::int64_t channel = 0; channel < count; channel += L) {
      Vector<T> block[L];
#pragma GCC unroll 16
      for (int i = 0; i < L; ++i) {
        block[i] = token + i < work.tokens() ? load_some(source(token + i) + channel, count - channel) : Vector<T>{};
        if (rows != nullptr) store(rows + (token + i) * work.width() + channel, block[i]);
      }
      if (transposed == nullptr) continue;
      transpose<T>(block);
#pragma GCC unroll 16
      for (int i = 0; i < L; ++i) store(transposed + (channel + i) * work.step() + token, block[i]);
    }
  }
}

/// Divides every token by max(norm, floor), in both layouts (rows may be null); norms as WindowWorkspace says.
template <class T>
void normalise(std::int64_t count, const WindowWorkspace<T>& work, T* rows, T* transposed, T* norms) {
  constexpr int L = kLanes<T>;
  for (std::int64_t key = 0; key < work.keys(); key += L) {
    Vector<T> squares{};
    for (std::int64_t c = 0; c < count; ++c) squares += load(transposed + c * work.step() + key) * load(transposed + c * work.step() + key);
    const Vector<T> norm = square_root<T>(squares), floor = broadcast(static_cast<T>(kNormFloor));
    store(norms + key, norm < floor ? -floor : norm);
    const Vector<T> by_lane = T(1) / maximum<T>(norm, floor);
    T factors[L];
    store(factors, by_lane);
    for (std::int64_t c = 0; c < count; ++c) store(transposed + c * work.step() + key, load(transposed + c * work.step() + key) * by_lane);
    for (int lane = 0; lane < L && rows != nullptr; ++lane) {
      T* row = rows + (key + lane) * work.width();
      for (std::int64_t c = 0; c < work.width(); c += L) store(row + c, load(row + c) * factors[lane]);
    }
  }
}

template <class T>
void gather(const WindowAttentionSize& size, const WindowAttentionInputs<T>& in, const WindowTask& task, WindowWorkspace<T>& work) {
  work.enter(task, in);
  const auto part = [&](std::int64_t number) { return [&, number](std::int64_t i) { return in.qkv + work.offset(i, number, task.head); }; };
  gather_part(size.head_size, work, work.q, work.q_transposed, part(0));
  gather_part(size.head_size, work, work.k, work.k_transposed, part(1));
  gather_part(size.head_size, work, work.v, work.v_transposed, part(2));
  normalise(size.head_size, work, work.q, work.q_transposed, work.q_norm);
  normalise(size.head_size, work, work.k, work.k_transposed, work.k_norm);
}

}  // namespace trident::cpu
