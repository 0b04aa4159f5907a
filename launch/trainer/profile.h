/// Where the time of steps goes, on every rank: computing, communication that computing hides and that it does not, waiting for other
/// ranks; and a trace of it for a viewer.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "launch/trainer/log.h"
#include "parallel/mesh.h"
#include "runtime/activity.h"
#include "runtime/config.h"

namespace trident {

/// One step of one rank, seconds. compute + exposed + waiting = total; hidden passes beside the computing.
struct StepProfile {
  int step = 0, rank = 0;
  double total = 0.0, compute = 0.0;
  double exposed = 0.0;  // the computing thread waits while numbers travel
  double waiting = 0.0;  // it waits for ranks that have not come to the exchange yet
  double hidden = 0.0;   // numbers travel while it computes
  std::int64_t bytes = 0;
  static void visit(auto& self, auto& v) {
    v("step", self.step), v("rank", self.rank), v("total", self.total), v("compute", self.compute), v("exposed", self.exposed);
    v("waiting", self.waiting), v("hidden", self.hidden), v("bytes", self.bytes);
  }
};

struct Profile {
  std::vector<StepProfile> steps;                 // by rank, then step
  std::map<std::string, double> exposed_by_axes;  // seconds of all ranks and steps: "data", "domain_y domain_x", ...
};

/// `ranks`: the events of each, on one clock. Steps are the activities called "step".
Profile profile_of(const std::vector<std::vector<TraceEvent>>& ranks);
/// Chrome's trace format: a process for each rank, with a lane for computing and one for communication. `names`: of the ranks.
ConfigValue chrome_trace(const std::vector<std::vector<TraceEvent>>& ranks, const std::vector<std::string>& names);

/// Traces all ranks of a mesh on one clock.
class MeshTrace {
 public:
  /// Starts. Collective.
  explicit MeshTrace(const Mesh& mesh);
  /// Stops. The events of each rank, on rank 0; nothing elsewhere. Collective.
  std::vector<std::vector<TraceEvent>> finish();

 private:
  Mesh mesh_;
  double zero_ = 0.0;  // of this rank's clock
};

/// Traces some steps of a run.
class Profiler {
 public:
  static constexpr std::int64_t kWarmUp = 2;  // steps before, in which memory and libraries settle
  static constexpr std::int64_t kSteps = 50;

  /// Starts. Collective.
  explicit Profiler(const Mesh& mesh) : mesh_(mesh), trace_(mesh) {}
  /// Writes trace.json and profile.jsonl into `folder`, and a table into the log; on rank 0. Collective.
  void finish(const std::filesystem::path& folder, Log& log);

 private:
  Mesh mesh_;
  MeshTrace trace_;
};

}  // namespace trident
