#include "runtime/device/host_memory.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <vector>

namespace trident {
namespace {

struct Piece {
  unsigned char* data;
  std::size_t bytes;
};

/// More than one chunk of small blocks, and large ones, each filled with a number of its own.
std::vector<Piece> filled_pieces() {
  std::vector<Piece> pieces;
  for (int i = 0; i < 40; ++i) {
    for (const std::size_t bytes : {std::size_t{1}, std::size_t{100}, std::size_t{700000}, std::size_t{3} << 20}) {
      if (bytes > 1000000 && i > 1) continue;
      const Piece piece{static_cast<unsigned char*>(host_memory(bytes)), bytes};
      std::fill_n(piece.data, bytes, static_cast<unsigned char>(pieces.size()));
      pieces.push_back(piece);
    }
  }
  return pieces;
}

TEST(HostMemory, BlocksAreAlignedAndDoNotOverlap) {
  const std::vector<Piece> pieces = filled_pieces();
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(pieces[i].data) % kHostAlignment, 0U);
    const auto is_own = [&](unsigned char byte) { return byte == static_cast<unsigned char>(i); };
    EXPECT_TRUE(std::all_of(pieces[i].data, pieces[i].data + pieces[i].bytes, is_own)) << i;
  }
  for (const Piece& piece : pieces) release_host_memory(piece.data, piece.bytes);
}

TEST(HostMemory, IsReleasedInAnyOrder) {
  for (int round = 0; round < 3; ++round) {
    std::vector<Piece> pieces = filled_pieces();
    if (round > 0) std::reverse(pieces.begin(), pieces.end());
    if (round > 1) std::rotate(pieces.begin(), pieces.begin() + 17, pieces.end());
    for (const Piece& piece : pieces) {
      EXPECT_EQ(piece.data[0], piece.data[piece.bytes - 1]);
      release_host_memory(piece.data, piece.bytes);
    }
  }
}

}  // namespace
}  // namespace trident
