#include "parallel/messages.h"

#include <gtest/gtest.h>

#include "tests/support/test_world.h"

namespace trident {
namespace {

using testing::world;

TEST(Messages, OneRankIsEnoughForAny) {
  EXPECT_FALSE(any_of(*world(), false));
  EXPECT_TRUE(any_of(*world(), world()->rank() == world()->size() - 1));
  barrier(*world());
}

TEST(Messages, TextsOfAnyLengthReachEveryRank) {
  for (const std::string& text : {std::string(), std::string("a"), std::string(100000, 'x') + '\0' + "end"}) {
    EXPECT_EQ(broadcast_text(*world(), world()->rank() == 0 ? text : "other", 0), text);
  }
}

TEST(Messages, TextsAreGatheredInRankOrder) {
  const auto texts = gather_texts(*world(), std::string(static_cast<std::size_t>(world()->rank()), 'r'));
  ASSERT_EQ(static_cast<int>(texts.size()), world()->size());
  for (std::size_t rank = 0; rank < texts.size(); ++rank) EXPECT_EQ(texts[rank], std::string(rank, 'r'));
}

}  // namespace
}  // namespace trident
