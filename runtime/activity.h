/// What the threads of this process are doing, by name, readable by other threads while they do it: for reports about jobs that stand
/// still, and as intervals of time for traces. Costs a few stores where nobody reads.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace trident {

/// One interval of a trace. Times are seconds of the host's steady clock.
struct TraceEvent {
  enum class Kind : std::uint8_t { work, blocked, exchange };
  const char* name = "";
  Kind kind = Kind::work;
  bool communication = false;  // on a communication thread, not a computing one
  double start = 0.0, end = 0.0;
  std::string group{};         // exchange: whose ranks take part, and which of their exchanges it is
  std::int64_t sequence = -1;  // exchange
  std::int64_t bytes = 0;      // exchange: sent by this rank
};

/// The calling thread does `name` while this lives. Names outlive the program: literals, or interned().
class Activity {
 public:
  explicit Activity(const char* name, TraceEvent::Kind kind = TraceEvent::Kind::work);
  ~Activity();
  Activity(const Activity&) = delete;
  Activity& operator=(const Activity&) = delete;

  /// What a trace is to say of it.
  TraceEvent& event() { return event_; }

 private:
  TraceEvent event_;
};

/// The same text for good.
const char* interned(const std::string& text);
/// The tape's last operation on this thread.
void note_operation(const char* name);

/// The activities of a thread, outermost first, to be taken on by a thread that works for it.
struct ActivityStack {
  static constexpr int kDeepest = 12;
  std::array<const char*, kDeepest> names{};
  int depth = 0;
};
ActivityStack current_activities();

/// The calling communication thread works for a thread that is in these activities.
class WorkingFor {
 public:
  explicit WorkingFor(const ActivityStack& stack);
  ~WorkingFor();
  WorkingFor(const WorkingFor&) = delete;
  WorkingFor& operator=(const WorkingFor&) = delete;
};

/// "step > backward": those around the calling thread's innermost one.
std::string enclosing_activities();
/// One line for each thread that is in an activity: "computing: step > forward; last operations: linear, gelu".
std::vector<std::string> describe_threads();

/// Collects the intervals of all threads from now on, until stop_trace() returns them.
void start_trace();
std::vector<TraceEvent> stop_trace();
double trace_clock();  // seconds

}  // namespace trident
