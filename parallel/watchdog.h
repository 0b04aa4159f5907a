/// Watches over collectives: a deadline for each, and on the first ones a check that all ranks make the same.
///
/// Every rank has a thread of its own for this, and a connection beside MPI (side_channel.h). So a rank answers for itself while its other
/// threads are stuck in computing or inside MPI; a rank that is stopped is known by its silence, and one that has ended by the end of its
/// connection. When a deadline passes, rank 0 asks all ranks what they are doing, says it once, and the job ends.
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "parallel/communicator.h"
#include "runtime/activity.h"

namespace trident {

/// The ranks of a communicator, by a name that is the same on all of them.
struct CollectiveGroup {
  std::string lane;          // whose collectives a rank does one after the other: a mesh and its duplicates are different lanes
  std::string id;            // of the lane's groups: "0.3:1"
  std::vector<int> members;  // ranks of the job
};

/// What a rank is about to do with others. Views: valid during the call.
struct CollectiveCall {
  const char* name = "";
  std::int64_t elements = -1;  // -1: not of a tensor, or different on each rank
  DType dtype = DType::f32;
  const char* op = "";                                // of a reduction
  int root = -1;                                      // of a broadcast
  const std::vector<std::int64_t>* counts = nullptr;  // elements by rank, equal on all ranks
  std::vector<std::int64_t> sends = {};               // elements for each rank, where ranks differ
  std::vector<std::int64_t> receives = {};
};
/// "all_reduce sum of 100 f32"
std::string to_string(const CollectiveCall& call);

class Watchdog {
 public:
  /// Ends the job; does not return.
  using Fail = std::function<void(const std::exception&)>;

  /// Collective over all ranks of the job. Null, after a word on standard error, if some rank cannot reach rank 0 but through MPI.
  static std::shared_ptr<Watchdog> start(Communicator& world, Fail fail);
  virtual ~Watchdog() = default;

  /// What messages call this rank: "data 1 tensor 0".
  virtual void set_place(const std::string& place) = 0;
  /// The end of this rank is no accident: it has said why, or all is done.
  virtual void announce_failure() = 0;
  virtual void announce_end() = 0;

  /// A rank enters a collective; returns a number for leave(). The first ones of a group wait here until all its ranks have come with the
  /// same.
  virtual std::int64_t enter(const CollectiveGroup& group, const std::string& group_name, const CollectiveCall& call,
                             double timeout_seconds, TraceEvent& event) = 0;
  virtual void leave(std::int64_t visit) = 0;
};

/// This rank is in a collective while this lives. Without a watchdog only traces know of it.
class CollectiveVisit {
 public:
  /// `bytes_sent`: the communicator's counter, of which a trace takes the difference.
  CollectiveVisit(Watchdog* watchdog, const CollectiveGroup& group, const std::string& group_name, const CollectiveCall& call,
                  double timeout_seconds, const std::int64_t& bytes_sent);
  ~CollectiveVisit();
  CollectiveVisit(const CollectiveVisit&) = delete;
  CollectiveVisit& operator=(const CollectiveVisit&) = delete;

 private:
  Activity activity_;
  Watchdog* watchdog_;
  const std::int64_t& bytes_sent_;
  std::int64_t bytes_before_;
  std::int64_t visit_ = -1;
};

}  // namespace trident
