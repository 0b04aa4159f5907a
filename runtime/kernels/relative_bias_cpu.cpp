#include "runtime/kernels/relative_bias.h"

#include <vector>

namespace trident {

namespace {

constexpr std::int64_t kParts = 4;  // of a head's pairs: few heads keep several threads busy, and sums do not depend on how many

struct Part {
  std::int64_t head, begin, end;
  Part(RelativeBiasSize size, std::int64_t index)
      : head(index / kParts), begin(index % kParts * size.pairs / kParts), end((index % kParts + 1) * size.pairs / kParts) {}
};

}  // namespace

template <class T>
void relative_bias(Cpu, RelativeBiasSize size, const T* table, const std::int64_t* index, T* y) {
#pragma omp parallel for schedule(static)
  for (std::int64_t task = 0; task < size.heads * kParts; ++task) {
    const Part part(size, task);
    std::vector<T> column(static_cast<std::size_t>(size.positions));  // of this head, close together
    for (std::int64_t i = 0; i < size.positions; ++i) column[static_cast<std::size_t>(i)] = table[i * size.heads + part.head];
    T* target = y + part.head * size.pairs;
    for (std::int64_t i = part.begin; i < part.end; ++i) target[i] = column[static_cast<std::size_t>(index[i])];
  }
}

template <class T>
void relative_bias_gradient(Cpu, RelativeBiasSize size, const T* dy, const std::int64_t* index, T* dtable) {
  std::vector<T> sums(static_cast<std::size_t>(size.heads * kParts * size.positions));
#pragma omp parallel for schedule(static)
  for (std::int64_t task = 0; task < size.heads * kParts; ++task) {
    const Part part(size, task);
    const T* source = dy + part.head * size.pairs;
    T* sum = sums.data() + task * size.positions;
    for (std::int64_t i = part.begin; i < part.end; ++i) sum[index[i]] += source[i];
  }
  for (std::int64_t head = 0; head < size.heads; ++head) {
    const T* first = sums.data() + head * kParts * size.positions;
    for (std::int64_t i = 0; i < size.positions; ++i) {
      T total = first[i];
      for (std::int64_t part = 1; part < kParts; ++part) total += first[part * size.positions + i];
      dtable[i * size.heads + head] = total;
    }
  }
}

#define TRIDENT_RELATIVE_BIAS(T)                                                            \
  template void relative_bias<T>(Cpu, RelativeBiasSize, const T*, const std::int64_t*, T*); \
  template void relative_bias_gradient<T>(Cpu, RelativeBiasSize, const T*, const std::int64_t*, T*);
TRIDENT_RELATIVE_BIAS(float)
TRIDENT_RELATIVE_BIAS(double)

}  // namespace trident
