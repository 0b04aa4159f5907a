#include "runtime/activity.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <set>
#include <utility>

namespace trident {
namespace {

/// Written by its thread alone. A reader may see a name that has just been replaced, never one that is no name.
struct ThreadState {
  std::array<std::atomic<const char*>, ActivityStack::kDeepest> names{};
  std::atomic<int> depth = 0;  // may exceed the names that there is room for
  std::array<std::atomic<const char*>, 4> recent{};
  std::atomic<unsigned> num_recent = 0;
  std::atomic<bool> communication = false;

  void push(const char* name) {
    const int at = depth.load(std::memory_order_relaxed);
    if (at < ActivityStack::kDeepest) names[static_cast<std::size_t>(at)].store(name, std::memory_order_relaxed);
    depth.store(at + 1, std::memory_order_release);
  }
  void pop() { depth.store(depth.load(std::memory_order_relaxed) - 1, std::memory_order_release); }

  ActivityStack stack() const {
    ActivityStack copy;
    copy.depth = std::min(depth.load(std::memory_order_acquire), ActivityStack::kDeepest);
    for (int i = 0; i < copy.depth; ++i) {
      copy.names[static_cast<std::size_t>(i)] = names[static_cast<std::size_t>(i)].load(std::memory_order_relaxed);
    }
    return copy;
  }
};

std::mutex registry_mutex;

std::vector<std::weak_ptr<ThreadState>>& registry() {
  static auto* const states = new std::vector<std::weak_ptr<ThreadState>>;  // never destroyed: threads end after main does
  return *states;
}

ThreadState& this_thread() {
  thread_local const std::shared_ptr<ThreadState> state = [] {
    auto made = std::make_shared<ThreadState>();
    const std::lock_guard lock(registry_mutex);
    std::erase_if(registry(), [](const auto& other) { return other.expired(); });
    registry().push_back(made);
    return made;
  }();
  return *state;
}

std::string joined(const ActivityStack& stack) {
  std::string text;
  for (int i = 0; i < stack.depth; ++i) text += std::string(i == 0 ? "" : " > ") + stack.names[static_cast<std::size_t>(i)];
  return text;
}

std::atomic<bool> tracing = false;
std::mutex trace_mutex;

std::vector<TraceEvent>& trace() {
  static auto* const events = new std::vector<TraceEvent>;
  return *events;
}

}  // namespace

Activity::Activity(const char* name, TraceEvent::Kind kind) {
  this_thread().push(name);
  event_.name = name;
  event_.kind = kind;
  if (tracing.load(std::memory_order_relaxed)) event_.start = trace_clock();
}

Activity::~Activity() {
  ThreadState& state = this_thread();
  state.pop();
  if (event_.start == 0.0 || !tracing.load(std::memory_order_relaxed)) return;
  event_.end = trace_clock();
  event_.communication = state.communication.load(std::memory_order_relaxed);
  const std::lock_guard lock(trace_mutex);
  trace().push_back(std::move(event_));
}

const char* interned(const std::string& text) {
  static std::mutex mutex;
  static auto* const texts = new std::set<std::string>;
  const std::lock_guard lock(mutex);
  return texts->insert(text).first->c_str();
}

void note_operation(const char* name) {
  ThreadState& state = this_thread();
  const unsigned count = state.num_recent.load(std::memory_order_relaxed);
  state.recent[count % state.recent.size()].store(name, std::memory_order_relaxed);
  state.num_recent.store(count + 1, std::memory_order_release);
}

ActivityStack current_activities() { return this_thread().stack(); }

WorkingFor::WorkingFor(const ActivityStack& stack) {
  ThreadState& state = this_thread();
  state.communication = true;
  for (int i = 0; i < stack.depth; ++i) state.push(stack.names[static_cast<std::size_t>(i)]);
}

WorkingFor::~WorkingFor() { this_thread().depth = 0; }

std::string enclosing_activities() {
  ActivityStack stack = current_activities();
  stack.depth = std::max(0, stack.depth - 1);
  return joined(stack);
}

std::vector<std::string> describe_threads() {
  std::vector<std::string> lines;
  const std::lock_guard lock(registry_mutex);
  for (const auto& weak : registry()) {
    const std::shared_ptr<ThreadState> state = weak.lock();
    if (!state) continue;
    const ActivityStack stack = state->stack();
    if (stack.depth == 0) continue;
    std::string line = std::string(state->communication ? "communicating: " : "computing: ") + joined(stack);
    const unsigned count = state->num_recent.load(std::memory_order_acquire);
    const unsigned shown = std::min<unsigned>(count, state->recent.size());
    for (unsigned back = 1; back <= shown; ++back) {  // newest first
      line += std::string(back == 1 ? "; last operations: " : ", ") + state->recent[(count - back) % state->recent.size()].load();
    }
    lines.push_back(std::move(line));
  }
  return lines;
}

void start_trace() { tracing = true; }

std::vector<TraceEvent> stop_trace() {
  tracing = false;
  const std::lock_guard lock(trace_mutex);
  return std::exchange(trace(), {});
}

double trace_clock() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

}  // namespace trident
