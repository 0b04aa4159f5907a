#include "runtime/tensor/random.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numbers>

namespace trident {

std::uint64_t hash_of(std::string_view name) {
  std::uint64_t hash = 0xCBF29CE484222325U;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3U;
  return hash;
}

double normal(RandomKey key, std::uint64_t index) {
  const RandomWords words = philox(key, index);
  const double radius = std::sqrt(-2.0 * std::log1p(-unit_interval(words[0], words[1])));  // 1 - u is never 0
  return radius * std::cos(2.0 * std::numbers::pi * unit_interval(words[2], words[3]));
}

namespace {

/// log(w) for w = 2^-53 to 1, within 2^-42 of it.
inline double fast_log(double w) {
  // w = 2^exponent m, with m between the roots of 1/2 and 2.
  const auto bits = std::bit_cast<std::uint64_t>(w);
  const std::uint64_t above = (bits - std::bit_cast<std::uint64_t>(std::numbers::sqrt2 / 2)) >> 52 << 52;
  const double m = std::bit_cast<double>(bits - above);
  // 2^52 + n has the bits of n: a conversion that vectorises on every processor.
  const double exponent = std::bit_cast<double>((above >> 52 & 0x7FF) ^ 0x4330000000000400U) - (0x1p52 + 0x400);
  const double s = (m - 1.0) / (m + 1.0), t = s * s;
  double series = t * (1.0 / 17) + 1.0 / 15;  // log(m) = 2 artanh(s) = 2 s (1 + t / 3 + t^2 / 5 ...), with t below 0.03
  series = t * series + 1.0 / 13;
  series = t * series + 1.0 / 11;
  series = t * series + 1.0 / 9;
  series = t * series + 1.0 / 7;
  series = t * series + 1.0 / 5;
  series = t * series + 1.0 / 3;
  series = t * series + 1.0;
  return exponent * std::numbers::ln2 + 2.0 * s * series;
}

/// cos(2 pi v) for v = 0 to 1, within 2^-42.
inline double fast_cos(double v) {
  const double x = 2.0 * std::numbers::pi * (std::abs(v - 0.5) - 0.25), t = x * x;  // cos(2 pi v) = sin(x), with |x| up to pi / 2
  double series = 1.0 - t * (1.0 / (19 * 18));
  series = 1.0 - t * series * (1.0 / (17 * 16));
  series = 1.0 - t * series * (1.0 / (15 * 14));
  series = 1.0 - t * series * (1.0 / (13 * 12));
  series = 1.0 - t * series * (1.0 / (11 * 10));
  series = 1.0 - t * series * (1.0 / (9 * 8));
  series = 1.0 - t * series * (1.0 / (7 * 6));
  series = 1.0 - t * series * (1.0 / (5 * 4));
  series = 1.0 - t * series * (1.0 / (3 * 2));
  return x * series;
}

}  // namespace

void normals(RandomKey key, std::uint64_t first, double deviation, std::span<double> numbers) {
  for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = deviation * normal(key, first + i);
}

void normals(RandomKey key, std::uint64_t first, double deviation, std::span<float> numbers) {
  constexpr std::size_t kBlock = 256;
  std::uint32_t words[4][kBlock];
  float highest[kBlock];
  for (; !numbers.empty(); numbers = numbers.subspan(std::min(kBlock, numbers.size())), first += kBlock) {
    const std::size_t count = std::min(kBlock, numbers.size());
    float* const lowest = numbers.data();
    for (std::size_t i = 0; i < count; ++i) {
      const RandomWords drawn = philox(key, first + i);
      for (std::size_t word = 0; word < 4; ++word) words[word][i] = drawn[word];
    }
    int doubtful = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const double radius = deviation * std::sqrt(-2.0 * fast_log(1.0 - unit_interval(words[0][i], words[1][i])));
      const double number = radius * fast_cos(unit_interval(words[2][i], words[3][i])), error = 0x1p-40 * radius;
      lowest[i] = static_cast<float>(number - error);
      highest[i] = static_cast<float>(number + error);
      doubtful += lowest[i] == highest[i] ? 0 : 1;
    }
    // Where both round to the same number, so does what lies between them; one in thousands is drawn once more, by normal().
    for (std::size_t i = 0; doubtful > 0 && i < count; ++i) {
      if (lowest[i] != highest[i]) lowest[i] = static_cast<float>(deviation * normal(key, first + i));
    }
  }
}

Permutation::Permutation(std::uint64_t size, RandomKey key) : size_(size), half_bits_(1), key_(key) {
  while ((std::uint64_t{1} << 2 * half_bits_) < size) ++half_bits_;
}

std::uint64_t Permutation::operator()(std::uint64_t position) const {
  const std::uint64_t mask = (std::uint64_t{1} << half_bits_) - 1;
  std::uint64_t x = position;
  do {  // the network permutes a power of four; walking until the range is met again permutes the range itself
    std::uint64_t left = x >> half_bits_, right = x & mask;
    for (std::uint64_t round = 0; round < 4; ++round) {
      const std::uint64_t next = left ^ (mixed_bits(key_.fold(round).bits() + right) & mask);
      left = right;
      right = next;
    }
    x = left << half_bits_ | right;
  } while (x >= size_);
  return x;
}

}  // namespace trident
