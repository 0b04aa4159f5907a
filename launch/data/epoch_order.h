/// Which sample stands at which position of an epoch: a function of (seed, epoch, position), the same on every mesh and never stored.
#pragma once

#include <cstdint>
#include <vector>

#include "launch/data/dataset.h"

namespace trident {

class EpochOrder {
 public:
  /// Without weights every sample comes once an epoch. With them an epoch is as long, and member i fills its share of it: its samples
  /// repeat, each as often as the others, or some are left for later epochs.
  EpochOrder(const Dataset& dataset, bool shuffle, std::uint64_t seed);

  std::int64_t size() const { return size_; }
  std::int64_t sample(std::int64_t epoch, std::int64_t position) const;

 private:
  struct Member {
    std::int64_t first_position = 0, first_sample = 0, size = 0;
  };
  std::int64_t size_;
  bool shuffle_;
  bool weighted_;
  std::uint64_t seed_;
  std::vector<Member> members_;
};

}  // namespace trident
