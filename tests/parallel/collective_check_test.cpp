#include "parallel/collective_check.h"

#include <gtest/gtest.h>

#include "runtime/error.h"

namespace trident {
namespace {

CollectiveCheck a_check() {
  return CollectiveCheck([](int rank) { return concat("rank ", rank); });
}

Arrival arrival(int rank, const std::string& group, std::int64_t sequence, const std::string& call, std::vector<int> members = {0, 1}) {
  return {.lane = "0",
          .group = group,
          .sequence = sequence,
          .rank = rank,
          .members = std::move(members),
          .call = call,
          .during = "step",
          .sends = {},
          .receives = {}};
}

template <class Work>
std::string error_of(Work work) {
  try {
    work();
  } catch (const CommunicationError& error) {
    return error.what();
  }
  return "";
}

TEST(CollectiveCheck, ReleasesAllMembersWhenTheLastHasCome) {
  CollectiveCheck check = a_check();
  EXPECT_TRUE(check.arrive(arrival(2, "a", 0, "broadcast", {0, 2})).empty());
  EXPECT_EQ(check.arrive(arrival(0, "a", 0, "broadcast", {0, 2})), (std::vector{0, 2}));
  EXPECT_TRUE(check.arrive(arrival(0, "a", 1, "broadcast", {})).empty());  // the members are known by now
  EXPECT_EQ(check.arrive(arrival(2, "a", 1, "broadcast", {})), (std::vector{0, 2}));
}

TEST(CollectiveCheck, LanesBetweenTheSameRanksDoNotMeet) {
  CollectiveCheck check = a_check();
  Arrival beside = arrival(1, "a", 0, "all_gather");
  beside.lane = "0.1";
  EXPECT_TRUE(check.arrive(arrival(0, "a", 0, "broadcast")).empty());
  EXPECT_TRUE(check.arrive(beside).empty());
  EXPECT_EQ(check.arrive(arrival(1, "a", 0, "broadcast")), (std::vector{0, 1}));
  beside.rank = 0;
  EXPECT_EQ(check.arrive(beside), (std::vector{0, 1}));
}

TEST(CollectiveCheck, NamesBothCallsThatDiffer) {
  CollectiveCheck check = a_check();
  check.arrive(arrival(0, "a", 3, "all_reduce sum of 7 f32"));
  const std::string text = error_of([&] { check.arrive(arrival(1, "a", 3, "all_reduce sum of 8 f32")); });
  EXPECT_NE(text.find("rank 0 calls all_reduce sum of 7 f32 (in step), but rank 1 calls all_reduce sum of 8 f32"), std::string::npos)
      << text;
}

TEST(CollectiveCheck, ComparesWhatIsSentWithWhatIsExpected) {
  CollectiveCheck check = a_check();
  Arrival first = arrival(0, "a", 0, "all_to_all of f32"), second = arrival(1, "a", 0, "all_to_all of f32");
  first.sends = {0, 5}, first.receives = {0, 2};
  second.sends = {2, 0}, second.receives = {4, 0};
  check.arrive(first);
  const std::string text = error_of([&] { check.arrive(second); });
  EXPECT_NE(text.find("sends 5 elements to rank 1, which expects 4"), std::string::npos) << text;
  CollectiveCheck fresh = a_check();
  second.receives = {5, 0};
  fresh.arrive(first);
  EXPECT_EQ(fresh.arrive(second), (std::vector{0, 1}));
}

TEST(CollectiveCheck, FindsRanksThatWaitForEachOtherOverThreeGroups) {
  CollectiveCheck check = a_check();
  check.arrive(arrival(0, "a", 0, "all_reduce", {0, 1}));
  check.arrive(arrival(1, "b", 0, "all_reduce", {1, 2}));
  const std::string text = error_of([&] { check.arrive(arrival(2, "c", 0, "all_gather", {2, 0})); });
  EXPECT_NE(text.find("different orders: rank 2 calls all_gather (in step) over group c, but rank 1"), std::string::npos) << text;
}

TEST(CollectiveCheck, ALateRankIsNoCircleAndLanesAreIndependent) {
  CollectiveCheck check = a_check();
  check.arrive(arrival(0, "a", 0, "all_reduce", {0, 1}));
  check.arrive(arrival(2, "b", 0, "all_reduce", {1, 2}));  // rank 1 computes
  Arrival other = arrival(1, "c", 0, "all_reduce", {0, 1});
  other.lane = "0.1";
  EXPECT_TRUE(check.arrive(other).empty());
  EXPECT_EQ(check.arrive(arrival(1, "a", 0, "all_reduce")), (std::vector{0, 1}));
}

}  // namespace
}  // namespace trident
