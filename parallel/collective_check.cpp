#include "parallel/collective_check.h"

#include <set>

#include "runtime/error.h"

namespace trident {

std::vector<int> CollectiveCheck::arrive(const Arrival& arrival) {
  const Place place{{arrival.lane, arrival.group}, arrival.sequence};
  if (!arrival.members.empty()) members_[place.first] = arrival.members;
  Pending& pending = pending_[place];
  if (!pending.empty()) require_equal(pending.begin()->second, arrival);
  pending[arrival.rank] = arrival;
  waiting_[{arrival.lane, arrival.rank}] = place;
  const std::vector<int>& members = members_[place.first];
  if (pending.size() < members.size()) {
    require_no_circle(arrival);
    return {};
  }
  require_counts(members, pending);
  for (const int member : members) waiting_.erase({arrival.lane, member});
  pending_.erase(place);
  return members;
}

std::string CollectiveCheck::described(const Arrival& arrival) const {
  return concat(name_of_(arrival.rank), " calls ", arrival.call, arrival.during.empty() ? "" : " (in " + arrival.during + ")");
}

void CollectiveCheck::require_equal(const Arrival& first, const Arrival& other) const {
  if (first.call == other.call) return;
  throw CommunicationError(concat("collective ", other.sequence, " of group ", other.group, ": ", described(first), ", but ",
                                  described(other), "; all ranks must make the same calls in the same order, with the same sizes"));
}

void CollectiveCheck::require_counts(const std::vector<int>& members, const Pending& pending) const {
  for (std::size_t from = 0; from < members.size(); ++from) {
    const Arrival& sender = pending.at(members[from]);
    if (sender.sends.empty()) continue;
    for (std::size_t to = 0; to < members.size(); ++to) {
      const Arrival& receiver = pending.at(members[to]);
      if (sender.sends[to] == receiver.receives[from]) continue;
      throw CommunicationError(concat("collective ", sender.sequence, " of group ", sender.group, ": ", described(sender), " and sends ",
                                      sender.sends[to], " elements to ", name_of_(receiver.rank), ", which expects ",
                                      receiver.receives[from], "; the two must agree"));
    }
  }
}

std::vector<int> CollectiveCheck::missing(const Arrival& arrival) const {
  std::vector<int> ranks;
  const Group group{arrival.lane, arrival.group};
  const Pending& pending = pending_.at({group, arrival.sequence});
  for (const int member : members_.at(group)) {
    if (!pending.contains(member)) ranks.push_back(member);
  }
  return ranks;
}

/// Each rank waits for all that are missing where it waits: if that leads back to the one that has just come, none of them will go on.
void CollectiveCheck::require_no_circle(const Arrival& from) const {
  std::vector<int> todo = missing(from);
  std::set<int> seen(todo.begin(), todo.end());
  while (!todo.empty()) {
    const int rank = todo.back();
    todo.pop_back();
    const auto place = waiting_.find({from.lane, rank});
    if (place == waiting_.end()) continue;
    const Arrival& other = pending_.at(place->second).at(rank);
    for (const int next : missing(other)) {
      if (next == from.rank) {
        throw CommunicationError(concat("collectives in different orders: ", described(from), " over group ", from.group, ", but ",
                                        described(other), " over group ", other.group,
                                        ", and each waits for the other; all ranks must make the same calls in the same order"));
      }
      if (seen.insert(next).second) todo.push_back(next);
    }
  }
}

}  // namespace trident
