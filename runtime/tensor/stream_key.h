/// Which stream of random numbers an operation draws from, where the host may not know it yet.
#pragma once

#include <array>

#include "runtime/tensor/random.h"

namespace trident {

/// A RandomKey; or one that lies in a GPU's memory when the kernel runs, and what is folded into it here is folded by the kernel. So a
/// training step that was captured as a graph draws other numbers each time, those that it would draw without.
class StreamKey {
 public:
  StreamKey() = default;
  constexpr StreamKey(RandomKey key) : key_(key) {}  // NOLINT: a key is a stream that is known
  /// The key whose bits are at `place` on a device.
  static StreamKey at(const std::int64_t* place);

  /// As RandomKey's; of a key on a device at most kMostFolds.
  StreamKey fold(std::uint64_t value) const;
  StreamKey fold(std::string_view name) const;
  /// For who draws: on the device where it lies. Of a known key on any.
  constexpr RandomKey key() const {
    if (place_ == nullptr) return key_;
    RandomKey result(static_cast<std::uint64_t>(*place_));
    for (int i = 0; i < count_; ++i) result = result.fold(folded_[static_cast<std::size_t>(i)]);
    return result;
  }

 private:
  static constexpr int kMostFolds = 4;  // a block, a site in it, and two to spare

  RandomKey key_;
  const std::int64_t* place_ = nullptr;
  std::array<std::uint64_t, kMostFolds> folded_{};
  int count_ = 0;
};

}  // namespace trident
