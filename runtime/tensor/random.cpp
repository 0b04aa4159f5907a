#include "runtime/tensor/random.h"

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
