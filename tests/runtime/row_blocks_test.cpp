#include "runtime/kernels/row_blocks.h"

#include <gtest/gtest.h>

#include "runtime/device/threads.h"

namespace trident {
namespace {

TEST(RowBlocks, EveryThreadGetsAsManyBlocksOfOneSize) {
  const int threads = num_threads();
  for (const int count : {1, 2, 3}) {
    set_num_threads(count);
    for (const std::int64_t rows : {64, 1000, 1024, 4096, 5000}) {
      for (const std::int64_t bytes : {384, 768, 1536, 100'000}) {
        const cpu::RowBlocks blocks{.rows = rows, .bytes_per_row = bytes};
        EXPECT_GE(blocks.rows_per_block(), cpu::RowBlocks::kFewestRows);
        if (blocks.rows_per_block() == cpu::RowBlocks::kFewestRows) continue;
        EXPECT_EQ(blocks.count() % count, 0) << rows << " rows of " << bytes << " bytes";
        EXPECT_LE(blocks.rows_per_block() * bytes, cpu::RowBlocks::kCacheBytes);
        EXPECT_LT(blocks.count() * blocks.rows_per_block() - rows, blocks.count());  // the last one lacks a row a block at most
      }
    }
  }
  set_num_threads(threads);
}

}  // namespace
}  // namespace trident
