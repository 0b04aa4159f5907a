#include "launch/trainer/profile.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <utility>

#include "checkpoint/atomic_file.h"
#include "parallel/messages.h"

namespace trident {
namespace {

struct Interval {
  double start = 0.0, end = 0.0;
  double length() const { return std::max(0.0, end - start); }
};

Interval common(const Interval& a, const Interval& b) { return {std::max(a.start, b.start), std::min(a.end, b.end)}; }
Interval interval_of(const TraceEvent& event) { return {event.start, event.end}; }

using Meeting = std::pair<std::string, std::int64_t>;  // group and sequence of an exchange

/// When the last rank came to each exchange: before that nothing can be whole.
std::map<Meeting, double> last_arrivals(const std::vector<std::vector<TraceEvent>>& ranks) {
  std::map<Meeting, double> last;
  for (const auto& events : ranks) {
    for (const TraceEvent& event : events) {
      if (event.sequence < 0) continue;
      double& time = last.try_emplace({event.group, event.sequence}, event.start).first->second;
      time = std::max(time, event.start);
    }
  }
  return last;
}

/// "data" of "data 0/0.3:1".
std::string axes_of(const std::string& group) { return group.substr(0, group.rfind(' ')); }

/// One step of one rank.
StepProfile measured(const Interval& step, const std::vector<TraceEvent>& events, const std::map<Meeting, double>& last,
                     std::map<std::string, double>& exposed_by_axes) {
  StepProfile profile;
  profile.total = step.length();
  std::vector<Interval> waits;  // of the computing thread for a communication thread; its own exchanges block it for themselves alone
  double blocked_seconds = 0.0;
  for (const TraceEvent& event : events) {
    const double length = common(step, interval_of(event)).length();
    if (event.communication || event.kind == TraceEvent::Kind::work || length <= 0.0) continue;
    if (event.kind == TraceEvent::Kind::blocked) waits.push_back(interval_of(event));
    blocked_seconds += length;
  }
  for (const TraceEvent& event : events) {
    if (event.sequence < 0 || common(step, interval_of(event)).length() <= 0.0) continue;
    const Interval moving = common(step, {std::max(event.start, last.at({event.group, event.sequence})), event.end});
    double exposed = event.communication ? 0.0 : moving.length();
    for (const Interval& interval : waits) exposed += event.communication ? common(moving, interval).length() : 0.0;
    profile.exposed += exposed;
    profile.hidden += moving.length() - exposed;
    profile.bytes += event.bytes;
    exposed_by_axes[axes_of(event.group)] += exposed;
  }
  profile.compute = profile.total - blocked_seconds;
  profile.waiting = std::max(0.0, blocked_seconds - profile.exposed);
  return profile;
}

ConfigValue written(const std::vector<TraceEvent>& events, double zero) {
  ConfigValue list = ConfigValue::list();
  for (const TraceEvent& event : events) {
    list.append(ConfigValue::list({event.name, static_cast<int>(event.kind), event.communication, event.start - zero, event.end - zero,
                                   event.group, event.sequence, event.bytes}));
  }
  return list;
}

std::vector<TraceEvent> read_events(const std::string& text) {
  std::vector<TraceEvent> events;
  const ConfigValue document = parse_json(text, "trace");
  for (const ConfigValue& row : document.elements()) {
    const std::vector<ConfigValue>& e = row.elements();
    events.push_back({.name = interned(e[0].as_string()),
                      .kind = static_cast<TraceEvent::Kind>(e[1].as_integer()),
                      .communication = e[2].as_bool(),
                      .start = e[3].as_number(),
                      .end = e[4].as_number(),
                      .group = e[5].as_string(),
                      .sequence = e[6].as_integer(),
                      .bytes = e[7].as_integer()});
  }
  return events;
}

ConfigValue lane_name(const char* what, int rank, int lane, const std::string& name) {
  return ConfigValue::map({{"name", what}, {"ph", "M"}, {"pid", rank}, {"tid", lane}, {"args", ConfigValue::map({{"name", name}})}});
}

/// A mean over the steps of each rank, in milliseconds.
void print_table(const Profile& profile, const std::vector<std::string>& names, Log& log) {
  std::array<char, 160> line{};
  std::snprintf(line.data(), line.size(), "%-28s %9s %9s %9s %9s %9s %9s", "milliseconds a step", "step", "compute", "exposed", "waiting",
                "hidden", "sent MB");
  log(line.data());
  double all = 0.0;
  for (std::size_t rank = 0; rank < names.size(); ++rank) {
    StepProfile sum;
    double steps = 0.0;
    for (const StepProfile& step : profile.steps) {
      if (step.rank != static_cast<int>(rank)) continue;
      sum.total += step.total, sum.compute += step.compute, sum.exposed += step.exposed, sum.waiting += step.waiting;
      sum.hidden += step.hidden, sum.bytes += step.bytes;
      steps += 1.0;
    }
    all += sum.total;
    const double each = 1e3 / std::max(1.0, steps);
    std::snprintf(line.data(), line.size(), "%-28s %9.2f %9.2f %9.2f %9.2f %9.2f %9.3f", names[rank].c_str(), each * sum.total,
                  each * sum.compute, each * sum.exposed, each * sum.waiting, each * sum.hidden,
                  1e-9 * each * static_cast<double>(sum.bytes));
    log(line.data());
  }
  for (const auto& [axes, seconds] : profile.exposed_by_axes) {
    std::snprintf(line.data(), line.size(), "exposed over %s: %.2f %% of the steps", axes.c_str(), 100.0 * seconds / std::max(all, 1e-9));
    log(line.data());
  }
}

}  // namespace

Profile profile_of(const std::vector<std::vector<TraceEvent>>& ranks) {
  const std::map<Meeting, double> last = last_arrivals(ranks);
  Profile profile;
  for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
    int number = 0;
    for (const TraceEvent& event : ranks[rank]) {
      if (event.name != std::string("step")) continue;
      StepProfile step = measured(interval_of(event), ranks[rank], last, profile.exposed_by_axes);
      step.rank = static_cast<int>(rank);
      step.step = number++;
      profile.steps.push_back(step);
    }
  }
  return profile;
}

ConfigValue chrome_trace(const std::vector<std::vector<TraceEvent>>& ranks, const std::vector<std::string>& names) {
  ConfigValue events = ConfigValue::list();
  for (std::size_t index = 0; index < ranks.size(); ++index) {
    const int rank = static_cast<int>(index);
    events.append(lane_name("process_name", rank, 0, names[index]));
    events.append(lane_name("thread_name", rank, 0, "computing"));
    events.append(lane_name("thread_name", rank, 1, "communication"));
    for (const TraceEvent& event : ranks[index]) {
      ConfigValue entry = ConfigValue::map({{"name", event.name},
                                            {"ph", "X"},
                                            {"pid", rank},
                                            {"tid", event.communication ? 1 : 0},
                                            {"ts", 1e6 * event.start},
                                            {"dur", 1e6 * (event.end - event.start)}});
      if (event.sequence >= 0) entry.set("args", ConfigValue::map({{"over", axes_of(event.group)}, {"bytes", event.bytes}}));
      events.append(std::move(entry));
    }
  }
  return ConfigValue::map({{"traceEvents", std::move(events)}, {"displayTimeUnit", "ms"}});
}

MeshTrace::MeshTrace(const Mesh& mesh) : mesh_(mesh) {
  // Clocks of hosts start at different times: all ranks read theirs when they have met, the second time without having slept.
  mesh_.stream().synchronize();
  barrier(mesh_.world());
  barrier(mesh_.world());
  zero_ = trace_clock();
  start_trace();
}

std::vector<std::vector<TraceEvent>> MeshTrace::finish() {
  mesh_.stream().synchronize();
  const std::vector<TraceEvent> mine = stop_trace();
  const std::vector<std::string> texts = gather_texts(mesh_.world(), to_json(written(mine, zero_), 0));
  std::vector<std::vector<TraceEvent>> ranks;
  if (mesh_.world().rank() != 0) return ranks;
  for (const std::string& text : texts) ranks.push_back(read_events(text));
  return ranks;
}

void Profiler::finish(const std::filesystem::path& folder, Log& log) {
  const std::vector<std::vector<TraceEvent>> ranks = trace_.finish();
  const std::string place = to_string(mesh_);
  std::vector<std::string> names = gather_texts(mesh_.world(), place);
  if (mesh_.world().rank() != 0) return;
  for (std::size_t rank = 0; rank < names.size(); ++rank)
    names[rank] = concat("rank ", rank, names[rank].empty() ? "" : " | ", names[rank]);
  const Profile profile = profile_of(ranks);
  std::string rows;
  for (const StepProfile& step : profile.steps) rows += to_json(write_config(step), 0) + "\n";
  write_file_atomically(folder / "profile.jsonl", rows);
  write_file_atomically(folder / "trace.json", to_json(chrome_trace(ranks, names), 0) + "\n");
  print_table(profile, names, log);
  log(concat("trace of ", profile.steps.size() / names.size(), " steps: ", (folder / "trace.json").string(),
             " (open it in ui.perfetto.dev or chrome://tracing)"));
}

}  // namespace trident
