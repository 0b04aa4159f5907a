/// Buffers as slices for ranks, in bytes. Private to mpi_communicator.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "runtime/tensor/tensor.h"

namespace trident {

/// To or from a rank.
struct Message {
  int peer;
  std::byte* data;
  std::int64_t bytes;
};

inline std::int64_t element_bytes(const Tensor& x) { return static_cast<std::int64_t>(size_of(x.dtype())); }

inline std::vector<std::int64_t> in_bytes(std::vector<std::int64_t> counts, std::int64_t unit) {
  for (std::int64_t& count : counts) count *= unit;
  return counts;
}

/// Consecutive slices of a buffer, one for each rank.
inline std::vector<Message> slices_of(std::byte* data, const std::vector<std::int64_t>& bytes) {
  std::vector<Message> slices;
  for (std::size_t peer = 0; peer < bytes.size(); ++peer) {
    slices.push_back({static_cast<int>(peer), data, bytes[peer]});
    data += bytes[peer];
  }
  return slices;
}

}  // namespace trident
