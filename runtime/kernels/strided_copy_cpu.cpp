#include <bit>
#include <complex>
#include <cstring>
#include <type_traits>

#include "runtime/kernels/strided_copy.h"
#include "runtime/kernels/strided_loop.h"

namespace trident {
namespace {

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
  } else if constexpr (std::is_same_v<From, f16>) {
    return convert<To>(static_cast<float>(std::bit_cast<_Float16>(value.bits)));
  } else if constexpr (std::is_same_v<To, f16>) {
    return f16{std::bit_cast<std::uint16_t>(static_cast<_Float16>(convert<float>(value)))};
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

StridedLoop<2> loop_of(const StridedPair& pair) { return {pair.shape, {pair.target_strides, pair.source_strides}}; }

}  // namespace

template <class To, class From>
void strided_copy(Cpu, const StridedPair& pair, To* target, const From* source) {
  for_each_run(loop_of(pair), [=](auto offsets, std::int64_t length, auto steps) {
    const auto [to, from] = offsets;
    const auto [target_step, source_step] = steps;
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
  for_each_run(loop_of(pair), [=](auto offsets, std::int64_t length, auto steps) {
    const auto [to, from] = offsets;
    const auto [target_step, source_step] = steps;
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
  TRIDENT_COPY(To, f16)                                                                                                          \
  TRIDENT_COPY(To, std::int64_t)                                                                                                 \
  TRIDENT_COPY(To, std::int32_t)                                                                                                 \
  TRIDENT_COPY(To, bool)
TRIDENT_COPY_TO(float)
TRIDENT_COPY_TO(double)
TRIDENT_COPY_TO(bf16)
TRIDENT_COPY_TO(f16)
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
