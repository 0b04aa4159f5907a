#include <bit>
#include <complex>
#include <cstring>
#include <type_traits>

#include "runtime/kernels/strided_copy.h"

namespace trident {
namespace {

constexpr std::int64_t kGrain = 1 << 15;  // elements below which one thread is faster


template <class To, class From>
To convert(From value) {
  if constexpr (std::is_same_v<To, From>) {
    return value;
  } else if constexpr (std::is_same_v<From, bf16>) {
    return convert<To>(std::bit_cast<float>(static_cast<std::uint32_t>(value.bits) << 16));
  } else if constexpr (std::is_same_v<To, bf16>) {
    const auto bits = std::bit_cast<std::uint32_t>(convert<float>(value));
    if ((bits & 0x7fffffffU) > 0x7f800000U) return bf16{static_cast<std::uint16_t>(bits >> 16 | 0x40U)};  // a quiet NaN stays one
    return bf16{static_cast<std::uint16_t>((bits + 0x7fffU + (bits >> 16 & 1U)) >> 16)};                  // to nearest, ties to even
  } else if constexpr (std::is_same_v<To, c64> || std::is_same_v<To, c128>) {
    if constexpr (std::is_same_v<From, c64> || std::is_same_v<From, c128>) {
      return To(static_cast<typename To::value_type>(value.real()), static_cast<typename To::value_type>(value.imag()));
    } else {
      return To(static_cast<typename To::value_type>(value));
    }
  } else if constexpr (std::is_same_v<From, c64> || std::is_same_v<From, c128>) {
    return static_cast<To>(value.real());
  } else if constexpr (std::is_same_v<To, bool>) {
    return value != From{};
  } else {
    return static_cast<To>(value);
  }
}

/// Merges dimensions that both sides step through evenly, so that the innermost run is as long as it can be.
StridedPair merged(const StridedPair& pair) {
  StridedPair result;
  for (int dim = 0; dim < pair.shape.rank(); ++dim) {
    if (pair.shape[dim] == 1) continue;
    const int last = result.shape.rank() - 1;
    if (last >= 0 && result.target_strides[last] == pair.target_strides[dim] * pair.shape[dim] &&
        result.source_strides[last] == pair.source_strides[dim] * pair.shape[dim]) {
      result.shape[last] *= pair.shape[dim];
      result.target_strides[last] = pair.target_strides[dim];
      result.source_strides[last] = pair.source_strides[dim];
    } else {
      result.shape.push_back(pair.shape[dim]);
      result.target_strides.push_back(pair.target_strides[dim]);
      result.source_strides.push_back(pair.source_strides[dim]);
    }
  }
  if (result.shape.rank() == 0) return {{1}, {1}, {1}};
  return result;
}

/// Calls run(target offset, source offset, length, target stride, source stride) for every innermost run.
template <class Run>
void for_each_run(const StridedPair& unmerged, Run&& run) {
  const StridedPair pair = merged(unmerged);
  const int inner = pair.shape.rank() - 1;
  const std::int64_t length = pair.shape[inner];
  std::int64_t runs = 1;
  for (int dim = 0; dim < inner; ++dim) runs *= pair.shape[dim];
  if (length == 0 || runs == 0) return;
  const std::int64_t target_step = pair.target_strides[inner], source_step = pair.source_strides[inner];
  if (runs == 1) {
    const std::int64_t parts = (length + kGrain - 1) / kGrain;
#pragma omp parallel for schedule(static) if (parts > 1)
    for (std::int64_t part = 0; part < parts; ++part) {
      const std::int64_t begin = part * kGrain, end = std::min(length, begin + kGrain);
      run(begin * target_step, begin * source_step, end - begin, target_step, source_step);
    }
    return;
  }
#pragma omp parallel for schedule(static) if (runs * length > kGrain)
  for (std::int64_t index = 0; index < runs; ++index) {
    std::int64_t rest = index, target = 0, source = 0;
    for (int dim = inner - 1; dim >= 0; --dim) {
      const std::int64_t position = rest % pair.shape[dim];
      rest /= pair.shape[dim];
      target += position * pair.target_strides[dim];
      source += position * pair.source_strides[dim];
    }
    run(target, source, length, target_step, source_step);
  }
}

}  // namespace

template <class To, class From>
void strided_copy(Cpu, const StridedPair& pair, To* target, const From* source) {
  for_each_run(pair, [=](std::int64_t to, std::int64_t from, std::int64_t length, std::int64_t target_step, std::int64_t source_step) {
    if (target_step == 1 && source_step == 1) {
      if constexpr (std::is_same_v<To, From>) {
        std::memcpy(target + to, source + from, static_cast<std::size_t>(length) * sizeof(To));
      } else {
        for (std::int64_t i = 0; i < length; ++i) target[to + i] = convert<To>(source[from + i]);
      }
      return;
    }
    for (std::int64_t i = 0; i < length; ++i) target[to + i * target_step] = convert<To>(source[from + i * source_step]);
  });
}

template <class T>
void strided_add(Cpu, const StridedPair& pair, T* target, const T* source) {
  for_each_run(pair, [=](std::int64_t to, std::int64_t from, std::int64_t length, std::int64_t target_step, std::int64_t source_step) {
    if (target_step == 1 && source_step == 1) {
      for (std::int64_t i = 0; i < length; ++i) target[to + i] += source[from + i];
      return;
    }
    for (std::int64_t i = 0; i < length; ++i) target[to + i * target_step] += source[from + i * source_step];
  });
}

#define TRIDENT_COPY(To, From) template void strided_copy<To, From>(Cpu, const StridedPair&, To*, const From*);
#define TRIDENT_COPY_TO(To)                                                                                                      \
  TRIDENT_COPY(To, float)                                                                                                        \
  TRIDENT_COPY(To, double)                                                                                                       \
  TRIDENT_COPY(To, bf16)                                                                                                         \
  TRIDENT_COPY(To, std::int64_t)                                                                                                 \
  TRIDENT_COPY(To, std::int32_t)                                                                                                 \
  TRIDENT_COPY(To, bool)
TRIDENT_COPY_TO(float)
TRIDENT_COPY_TO(double)
TRIDENT_COPY_TO(bf16)
TRIDENT_COPY_TO(std::int64_t)
TRIDENT_COPY_TO(std::int32_t)
TRIDENT_COPY_TO(bool)
TRIDENT_COPY(c64, c64)
TRIDENT_COPY(c64, c128)
TRIDENT_COPY(c128, c64)
TRIDENT_COPY(c128, c128)

template void strided_add<float>(Cpu, const StridedPair&, float*, const float*);
template void strided_add<double>(Cpu, const StridedPair&, double*, const double*);
template void strided_add<c64>(Cpu, const StridedPair&, c64*, const c64*);
template void strided_add<c128>(Cpu, const StridedPair&, c128*, const c128*);

}  // namespace trident
