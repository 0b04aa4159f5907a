/// Counter-based random numbers (Philox4x32-10): a number depends on its key and its index alone, so it is the same on every mesh.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

namespace trident {

/// SplitMix64's finaliser: every input bit reaches every output bit.
constexpr std::uint64_t mixed_bits(std::uint64_t x) {
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9U;
  x = (x ^ x >> 27) * 0x94D049BB133111EBU;
  return x ^ x >> 31;
}

/// FNV-1a 64, for what is named by words.
std::uint64_t hash_of(std::string_view name);

/// Names a stream of random numbers. Fold what distinguishes it: seed, step, call site; never rank or micro-batch.
class RandomKey {
 public:
  RandomKey() = default;
  constexpr explicit RandomKey(std::uint64_t seed) : bits_(seed) {}
  constexpr RandomKey fold(std::uint64_t value) const {
    return RandomKey(mixed_bits(bits_ + 0x9E3779B97F4A7C15U * (mixed_bits(value) | 1U)));
  }
  RandomKey fold(std::string_view name) const { return fold(hash_of(name)); }
  constexpr std::uint64_t bits() const { return bits_; }

 private:
  std::uint64_t bits_ = 0;
};

using RandomWords = std::array<std::uint32_t, 4>;
/// The ten rounds of Philox4x32 on a counter; loops over counters vectorise.
constexpr RandomWords philox_rounds(RandomWords counter, std::array<std::uint32_t, 2> key) {
  // Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"; constants of the paper.
  std::uint32_t x0 = counter[0], x1 = counter[1], x2 = counter[2], x3 = counter[3], k0 = key[0], k1 = key[1];
  const auto round = [&] {
    const std::uint64_t a = std::uint64_t{0xD2511F53U} * x0, b = std::uint64_t{0xCD9E8D57U} * x2;
    x0 = static_cast<std::uint32_t>(b >> 32) ^ x1 ^ k0;
    x1 = static_cast<std::uint32_t>(b);
    x2 = static_cast<std::uint32_t>(a >> 32) ^ x3 ^ k1;
    x3 = static_cast<std::uint32_t>(a);
    k0 += 0x9E3779B9U;
    k1 += 0xBB67AE85U;
  };
  // Written out: neither compiler's way to ask for it is understood by the other.
  round(), round(), round(), round(), round();
  round(), round(), round(), round(), round();
  return {x0, x1, x2, x3};
}
/// Four 32-bit words of the stream `key` at `index`.
constexpr RandomWords philox(RandomKey key, std::uint64_t index) {
  return philox_rounds({static_cast<std::uint32_t>(index), static_cast<std::uint32_t>(index >> 32), 0, 0},
                       {static_cast<std::uint32_t>(key.bits()), static_cast<std::uint32_t>(key.bits() >> 32)});
}

/// 53 of 64 random bits as a number in [0, 1).
constexpr double unit_interval(std::uint32_t high, std::uint32_t low) {
  // In two parts: 32 bits are converted by vectors on every processor.
  return static_cast<std::int32_t>(high >> 5) * 0x1p-27 + static_cast<std::int32_t>((high & 31) << 21 | low >> 11) * 0x1p-53;
}
/// Number `index` of the stream, uniform in [0, 1).
constexpr double uniform(RandomKey key, std::uint64_t index) {
  const RandomWords words = philox(key, index);
  return unit_interval(words[0], words[1]);
}
/// Number `index` of the stream, standard normal (Box-Muller in f64).
double normal(RandomKey key, std::uint64_t index);
/// The numbers from `first` on, times `deviation`. In f32 they are drawn several times faster, and are the same.
void normals(RandomKey key, std::uint64_t first, double deviation, std::span<float> numbers);
void normals(RandomKey key, std::uint64_t first, double deviation, std::span<double> numbers);

/// A permutation of 0..size-1 as a function: position -> element, without storing it (a 4-round Feistel network that walks cycles).
class Permutation {
 public:
  Permutation(std::uint64_t size, RandomKey key);
  std::uint64_t operator()(std::uint64_t position) const;

 private:
  std::uint64_t size_;
  int half_bits_;
  RandomKey key_;
};

}  // namespace trident
