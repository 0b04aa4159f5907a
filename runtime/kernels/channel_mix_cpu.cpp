#include <omp.h>

#include <algorithm>

#include "runtime/device/allocator.h"
#include "runtime/kernels/activation.h"
#include "runtime/kernels/channel_mix.h"
#include "runtime/kernels/gemm.h"

namespace trident {
namespace {

constexpr std::int64_t kCacheBytes = 1 << 18;  // what the work on a tile may touch
constexpr std::int64_t kFewestColumns = 64;    // below, a product spends its time on packing

/// Neighbouring points of one sample.
struct Tile {
  std::int64_t sample = 0, first = 0, columns = 0;
};

/// Samples cut into tiles that stay in a core's cache; each thread gets some.
class Tiles {
 public:
  Tiles(const MixSize& size, std::size_t bytes) : size_(size) {
    const std::int64_t threads = omp_get_max_threads();
    const std::int64_t fitting = kCacheBytes / ((size.in + 3 * size.out) * static_cast<std::int64_t>(bytes));
    const std::int64_t even = (size.batch * size.points + threads - 1) / threads;
    columns_ = std::min(size.points, std::max(kFewestColumns, std::min(fitting, even)));
    per_sample_ = size.points == 0 ? 0 : (size.points + columns_ - 1) / columns_;
  }
  std::int64_t count() const { return size_.batch * per_sample_; }
  std::int64_t columns() const { return columns_; }
  Tile operator[](std::int64_t index) const {
    const std::int64_t first = index % per_sample_ * columns_;
    return {index / per_sample_, first, std::min(columns_, size_.points - first)};
  }

 private:
  MixSize size_;
  std::int64_t columns_ = 0, per_sample_ = 0;
};

/// y += bias + gate addend in one row.
template <class T>
void add_row(std::int64_t columns, const T* bias, const T* gate, const T* addend, T* y) {
  const T shift = bias == nullptr ? T(0) : *bias, factor = gate == nullptr ? T(1) : *gate;
  if (addend == nullptr) {
#pragma omp simd
    for (std::int64_t i = 0; i < columns; ++i) y[i] += shift;
  } else {
#pragma omp simd
    for (std::int64_t i = 0; i < columns; ++i) y[i] += shift + factor * addend[i];
  }
}

template <class T>
const T* at(const T* pointer, std::int64_t offset) { return pointer == nullptr ? nullptr : pointer + offset; }

template <class T>
void forward_tile(const MixSize& size, const MixOperands<T>& from, const Tile& tile, T* before, T* y) {
  const std::int64_t in_offset = tile.sample * size.in * size.points + tile.first, out_offset = tile.sample * size.out * size.points + tile.first;
  T* sums = (before == nullptr ? y : before) + out_offset;
  cpu::gemm({.m = size.out, .n = tile.columns, .k = size.in, .lda = size.in, .ldb = size.points, .ldc = size.points}, from.weight,
            from.x + in_offset, sums);
  for (std::int64_t channel = 0; channel < size.out; ++channel) {
    const std::int64_t row = channel * size.points;
    if (from.bias != nullptr || from.addend != nullptr) {
      add_row(tile.columns, at(from.bias, channel), at(from.gate, channel), at(from.addend, out_offset + row), sums + row);
    }
    if (!size.gelu) continue;
    const T* x = sums + row;
    T* target = y + out_offset + row;
#pragma omp simd
    for (std::int64_t i = 0; i < tile.columns; ++i) target[i] = gelu(x[i]);
  }
}

/// The gradients of one thread, added up over its tiles, where they are sums over all points.
template <class T>
struct PartialSums {
  T *weight, *bias, *gate;
  static std::int64_t numbers(const MixSize& size) { return size.out * (size.in + 2); }
  PartialSums(const MixSize& size, T* memory) : weight(memory), bias(memory + size.out * size.in), gate(bias + size.out) {}
};

template <class T>
class BackwardTile {
 public:
  /// `scratch`: (out, tile columns), for the gradient before the GELU.
  BackwardTile(const MixSize& size, const MixOperands<T>& from, const Tile& tile, const T* before, const T* dy, T* scratch)
      : size_(size), from_(from), tile_(tile), out_offset_(tile.sample * size.out * size.points + tile.first), slope_(dy + out_offset_) {
    if (!size.gelu) return;
    for (std::int64_t channel = 0; channel < size.out; ++channel) {
      const T *x = before + out_offset_ + channel * size.points, *from_above = slope_ + channel * size.points;
      T* target = scratch + channel * tile.columns;
#pragma omp simd
      for (std::int64_t i = 0; i < tile.columns; ++i) target[i] = from_above[i] * gelu_gradient(x[i]);
    }
    slope_ = scratch;
    step_ = tile.columns;
  }

  void operator()(const MixGradients<T>& to, const PartialSums<T>& sums) const {
    const std::int64_t in_offset = tile_.sample * size_.in * size_.points + tile_.first, step = step_ == 0 ? size_.points : step_;
    if (to.x != nullptr) {
      cpu::gemm({.m = size_.in, .n = tile_.columns, .k = size_.out, .lda = size_.in, .ldb = step, .ldc = size_.points, .transpose_a = true},
                from_.weight, slope_, to.x + in_offset);
    }
    if (to.weight != nullptr) {
      cpu::gemm({.m = size_.out, .n = size_.in, .k = tile_.columns, .lda = step, .ldb = size_.points, .ldc = size_.in, .transpose_b = true,
                 .beta = 1.0},
                slope_, from_.x + in_offset, sums.weight);
    }
    if (to.bias == nullptr && to.gate == nullptr && to.addend == nullptr) return;
    for (std::int64_t channel = 0; channel < size_.out; ++channel) row(to, sums, channel, slope_ + channel * step);
  }

 private:
  void row(const MixGradients<T>& to, const PartialSums<T>& sums, std::int64_t channel, const T* slope) const {
    const std::int64_t offset = out_offset_ + channel * size_.points;
    if (to.bias != nullptr) {
      T total = 0;
#pragma omp simd reduction(+ : total)
      for (std::int64_t i = 0; i < tile_.columns; ++i) total += slope[i];
      sums.bias[channel] += total;
    }
    if (to.gate != nullptr) {
      const T* addend = from_.addend + offset;
      T total = 0;
#pragma omp simd reduction(+ : total)
      for (std::int64_t i = 0; i < tile_.columns; ++i) total += slope[i] * addend[i];
      sums.gate[channel] += total;
    }
    if (to.addend != nullptr) {
      const T factor = from_.gate == nullptr ? T(1) : from_.gate[channel];
      T* target = to.addend + offset;
#pragma omp simd
      for (std::int64_t i = 0; i < tile_.columns; ++i) target[i] = factor * slope[i];
    }
  }

  const MixSize& size_;
  const MixOperands<T>& from_;
  Tile tile_;
  std::int64_t out_offset_, step_ = 0;  // 0: rows lie as in dy
  const T* slope_;
};

/// What the threads have summed, in their order.
template <class T>
void add_parts(std::int64_t threads, std::int64_t stride, std::int64_t count, const T* first, T* total) {
  if (total == nullptr) return;
  std::copy_n(first, count, total);
  for (std::int64_t thread = 1; thread < threads; ++thread) {
    const T* source = first + thread * stride;
#pragma omp simd
    for (std::int64_t i = 0; i < count; ++i) total[i] += source[i];
  }
}

}  // namespace

template <class T>
void mix_forward(Cpu, const MixSize& size, const MixOperands<T>& from, T* before, T* y) {
  const Tiles tiles(size, sizeof(T));
#pragma omp parallel for schedule(static) if (tiles.count() > 1)
  for (std::int64_t index = 0; index < tiles.count(); ++index) forward_tile(size, from, tiles[index], before, y);
}

template <class T>
void mix_backward(Cpu, const MixSize& size, const MixOperands<T>& from, const T* before, const T* dy, const MixGradients<T>& to) {
  const Tiles tiles(size, sizeof(T));
  const std::int64_t threads = std::max<std::int64_t>(1, std::min<std::int64_t>(omp_get_max_threads(), tiles.count()));
  const std::int64_t numbers = PartialSums<T>::numbers(size), stride = numbers + (size.gelu ? size.out * tiles.columns() : 0);
  const Block block(static_cast<std::size_t>(threads * stride) * sizeof(T), {});
  T* memory = static_cast<T*>(block.data());
  for (std::int64_t thread = 0; thread < threads; ++thread) std::fill_n(memory + thread * stride, numbers, T(0));
#pragma omp parallel for schedule(static) num_threads(static_cast<int>(threads)) if (threads > 1)
  for (std::int64_t index = 0; index < tiles.count(); ++index) {
    T* mine = memory + omp_get_thread_num() * stride;
    BackwardTile<T>(size, from, tiles[index], before, dy, mine + numbers)(to, PartialSums<T>(size, mine));
  }
  const PartialSums<T> parts(size, memory);
  add_parts(threads, stride, size.out * size.in, parts.weight, to.weight);
  add_parts(threads, stride, size.out, parts.bias, to.bias);
  add_parts(threads, stride, size.out, parts.gate, to.gate);
}

#define TRIDENT_CHANNEL_MIX(T)                                                          \
  template void mix_forward<T>(Cpu, const MixSize&, const MixOperands<T>&, T*, T*);     \
  template void mix_backward<T>(Cpu, const MixSize&, const MixOperands<T>&, const T*, const T*, const MixGradients<T>&);
TRIDENT_CHANNEL_MIX(float)
TRIDENT_CHANNEL_MIX(double)

}  // namespace trident
