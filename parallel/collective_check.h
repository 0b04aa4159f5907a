/// Compares what ranks are about to do together, before they do it: a collective that differs between them, in kind, shape, type or order,
/// becomes an error instead of a hang. No ranks, no network: fed with what they say.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace trident {

/// One rank has come to a collective.
struct Arrival {
  std::string lane;                    // whose collectives a rank does one after the other
  std::string group;                   // which ranks take part: the same name on all of them, and in every lane
  std::int64_t sequence = 0;           // of the group's collectives
  int rank = 0;                        // of the job
  std::vector<int> members;            // ranks of the job; may be left out after the first
  std::string call;                    // equal on all members: "all_reduce sum of 100 f32"
  std::string during;                  // what it is for, for messages
  std::vector<std::int64_t> sends;     // elements for each member, where members differ; else empty
  std::vector<std::int64_t> receives;  // elements from each member
  static void visit(auto& self, auto& v) {
    v("lane", self.lane), v("group", self.group), v("sequence", self.sequence), v("rank", self.rank), v("members", self.members);
    v("call", self.call), v("during", self.during), v("sends", self.sends), v("receives", self.receives);
  }
};

class CollectiveCheck {
 public:
  /// `name_of` says what messages call a rank: "rank 2 (data 1)".
  explicit CollectiveCheck(std::function<std::string(int rank)> name_of) : name_of_(std::move(name_of)) {}

  /// The ranks that may go on: all members once the last has arrived, else none. Throws CommunicationError, naming two ranks and what each
  /// is about to do, if they do not fit or wait for each other in different collectives.
  std::vector<int> arrive(const Arrival& arrival);

 private:
  using Group = std::pair<std::string, std::string>;  // lane and group: each lane has its own exchanges between the same ranks
  using Place = std::pair<Group, std::int64_t>;       // and which of them
  using Pending = std::map<int, Arrival>;             // by rank

  void require_equal(const Arrival& first, const Arrival& other) const;
  void require_counts(const std::vector<int>& members, const Pending& pending) const;
  void require_no_circle(const Arrival& from) const;
  std::vector<int> missing(const Arrival& arrival) const;
  std::string described(const Arrival& arrival) const;

  std::function<std::string(int)> name_of_;
  std::map<Group, std::vector<int>> members_;
  std::map<Place, Pending> pending_;
  std::map<std::pair<std::string, int>, Place> waiting_;  // by lane and rank
};

}  // namespace trident
