/// Counter-based random numbers (Philox4x32-10): a number depends on its key and its index alone, so it is the same on every mesh.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace trident {

/// Names a stream of random numbers. Fold what distinguishes it: seed, step, call site; never rank or micro-batch.
class RandomKey {
 public:
  RandomKey() = default;
  explicit RandomKey(std::uint64_t seed) : bits_(seed) {}
  RandomKey fold(std::uint64_t value) const;
  RandomKey fold(std::string_view name) const;
  std::uint64_t bits() const { return bits_; }

 private:
  std::uint64_t bits_ = 0;
};

/// Four 32-bit words of the stream `key` at `index`.
std::array<std::uint32_t, 4> philox(RandomKey key, std::uint64_t index);

/// Number `index` of the stream, uniform in [0, 1): 53 random bits.
double uniform(RandomKey key, std::uint64_t index);
/// Number `index` of the stream, standard normal (Box-Muller in f64).
double normal(RandomKey key, std::uint64_t index);

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
