#include "runtime/device/emulated_streams.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <utility>

#include "runtime/device/emulated_memory.h"
#include "runtime/error.h"

namespace trident::emulation {
namespace {

struct Stream;

/// How far the work of each stream of a capture is known to have come.
using Progress = std::map<const Stream*, std::int64_t>;

struct Capture {
  std::set<Stream*> streams;
  std::vector<Piece> pieces;
};

struct Stream {
  int device;
  Capture* capture = nullptr;
  std::int64_t last = 0;  // piece of work since the capture began
  Progress behind{};      // what it waits for, in a capture
};

struct Event {
  int device;
  bool is_recorded = false, in_capture = false;
  Capture* capture = nullptr;  // that it was recorded in, while that lasts
  Progress progress{};
};

void join(Capture& capture, Stream& stream) {
  stream.capture = &capture, stream.last = 0, stream.behind.clear();
  capture.streams.insert(&stream);
}

thread_local int current_device = -1;
thread_local Capture* current_capture = nullptr;  // that this thread makes

std::mutex& mutex() {
  static std::mutex one;
  return one;
}
/// Captures that are being made: an event may have been recorded in one that is over.
std::set<const Capture*>& captures() {
  static std::set<const Capture*> all;
  return all;
}

void require(bool holds, const char* call, const char* why) {
  if (!holds) throw DeviceError(concat(call, ": ", why));
}

void require_device(const char* call, int device) {
  if (device == current_device) return;
  throw DeviceError(concat(call, ": this thread uses device ", current_device, " (-1: has chosen none), the call is for device ", device));
}

/// Ends a capture, whichever way it ends.
class Capturing {
 public:
  explicit Capturing(Stream& origin) {
    const std::lock_guard lock(mutex());
    require(origin.capture == nullptr && current_capture == nullptr, "capture", "another one is being made");
    join(capture_, origin);
    captures().insert(&capture_);
    current_capture = &capture_;
  }
  ~Capturing() {
    const std::lock_guard lock(mutex());
    for (Stream* stream : capture_.streams) stream->capture = nullptr;
    captures().erase(&capture_);
    current_capture = nullptr;
  }
  Capturing(const Capturing&) = delete;
  Capturing& operator=(const Capturing&) = delete;

  std::vector<Piece> result(const Stream& origin) {
    const std::lock_guard lock(mutex());
    for (const Stream* other : capture_.streams) {
      const auto known = origin.behind.find(other);
      const bool joined = other == &origin || (known != origin.behind.end() && known->second == other->last);
      require(joined, "capture", "a stream that was ordered behind the captured one is not waited for at the end");
    }
    return std::move(capture_.pieces);
  }

 private:
  Capture capture_;
};

}  // namespace

void choose_device(int device) { current_device = device; }

void submit(void* stream, const std::string& launch, Work work) {
  if (stream == nullptr) return work();
  auto& to = *static_cast<Stream*>(stream);
  require_device("launch", to.device);
  {
    const std::lock_guard lock(mutex());
    if (to.capture != nullptr) {
      ++to.last;
      to.capture->pieces.push_back({std::move(work), launch});
      return;
    }
  }
  work();
}

void submit_reuse(void* data, std::size_t bytes) {
  if (current_capture == nullptr) return forget(data, bytes);
  const std::lock_guard lock(mutex());
  current_capture->pieces.push_back({[data, bytes] { forget(data, bytes); }, ""});
}

bool is_captured(void* stream) {
  const std::lock_guard lock(mutex());
  return stream != nullptr && static_cast<Stream*>(stream)->capture != nullptr;
}

void* create_stream(int device) {
  choose_device(device);
  return new Stream{device};
}
void destroy_stream(void* stream) { delete static_cast<Stream*>(stream); }
void synchronize(void* stream) { require(!is_captured(stream), "synchronize", "the stream is being captured"); }

void* create_event(int device) {
  choose_device(device);
  return new Event{device};
}
void destroy_event(void* event) { delete static_cast<Event*>(event); }

void record(void* event, void* stream) {
  const std::lock_guard lock(mutex());
  auto& moment = *static_cast<Event*>(event);
  const auto& of = *static_cast<const Stream*>(stream);
  require(moment.device == of.device, "event", "it is of another device than the stream");
  moment.is_recorded = true, moment.in_capture = of.capture != nullptr, moment.capture = of.capture;
  moment.progress.clear();
  if (of.capture == nullptr) return;
  moment.progress = of.behind;
  moment.progress[&of] = of.last;
}

void wait(void* stream, void* event) {
  const std::lock_guard lock(mutex());
  auto& later = *static_cast<Stream*>(stream);
  const auto& moment = *static_cast<const Event*>(event);
  if (!moment.is_recorded) return;
  require(moment.in_capture || later.capture == nullptr, "wait for an event", "it happens outside of the capture that waits for it");
  if (!moment.in_capture) return;
  require(captures().contains(moment.capture), "wait for an event", "it was recorded in a capture that is over");
  if (later.capture == nullptr) join(*moment.capture, later);
  require(later.capture == moment.capture, "wait for an event", "it was recorded in another capture");
  for (const auto& [other, reached] : moment.progress) later.behind[other] = std::max(later.behind[other], reached);
}

void ask(void* event) {
  const std::lock_guard lock(mutex());
  const auto& moment = *static_cast<const Event*>(event);
  require_device("event", moment.device);
  require(!moment.in_capture, "event", "it was recorded in a capture, and does not happen by itself");
}

std::vector<Piece> capture(void* stream, const Work& work) {
  auto& origin = *static_cast<Stream*>(stream);
  Capturing capturing(origin);
  work();
  return capturing.result(origin);
}

}  // namespace trident::emulation
