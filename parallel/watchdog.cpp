#include "parallel/watchdog.h"

#include <poll.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <iostream>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <utility>

#include "parallel/messages.h"
#include "parallel/watchdog_hub.h"
#include "runtime/config.h"
#include "runtime/error.h"

namespace trident {
namespace {

using Clock = std::chrono::steady_clock;

// Of each group: all of the first steps. A check costs one message each way, which hundreds of steps would feel.
constexpr std::int64_t kCheckedCollectives = 500;
constexpr int kPollMilliseconds = 100;
constexpr auto kConnectPatience = std::chrono::seconds(5);
// After a deadline the hub needs at most this to end the job; a rank that is still there then has lost it.
constexpr auto kHubPatience = std::chrono::seconds(8);

/// "600.1"
std::string seconds_since(Clock::time_point start) {
  const auto tenths = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - start).count() / 100;
  return concat(tenths / 10, '.', tenths % 10);
}

/// A collective that this rank is in.
struct Visit {
  std::string group;  // with its lane
  std::string group_name;
  std::int64_t sequence = 0;
  std::string call, during;
  std::vector<int> members;
  double timeout_seconds = 0.0;
  Clock::time_point start = Clock::now();
  bool reported = false;
};

class RankWatchdog final : public Watchdog {
 public:
  RankWatchdog(int rank, LineConnection line, std::unique_ptr<WatchdogHub> hub, Fail fail)
      : rank_(rank), line_(std::move(line)), hub_(std::move(hub)), fail_(std::move(fail)) {
    send(ConfigValue::map({{"kind", "hello"}, {"rank", rank}}));
    thread_ = std::thread([this] { watch(); });
  }

  ~RankWatchdog() override {
    stopping_ = true;
    thread_.join();
  }

  void set_place(const std::string& place) override { send(ConfigValue::map({{"kind", "place"}, {"text", place}})); }

  void announce_failure() override {
    ending_ = true;
    send(ConfigValue::map({{"kind", "failed"}}));
  }

  void announce_end() override {
    ending_ = true;
    send(ConfigValue::map({{"kind", "ended"}}));
  }

  std::int64_t enter(const CollectiveGroup& group, const std::string& group_name, const CollectiveCall& call, double timeout_seconds,
                     TraceEvent& event) override {
    const std::string key = group.lane + "/" + group.id;
    std::int64_t number = 0, sequence = 0;
    {
      const std::lock_guard lock(mutex_);
      sequence = entered_[key]++;
      number = next_visit_++;
      visits_[number] = {.group = key,
                         .group_name = group_name,
                         .sequence = sequence,
                         .call = to_string(call),
                         .during = enclosing_activities(),
                         .members = group.members,
                         .timeout_seconds = timeout_seconds};
    }
    event.group = concat(group_name, " ", key);
    event.sequence = sequence;
    if (sequence < kCheckedCollectives) check(group, key, sequence, call);
    return number;
  }

  void leave(std::int64_t visit) override {
    const std::lock_guard lock(mutex_);
    visits_.erase(visit);
  }

 private:
  void send(const ConfigValue& message) {
    const std::lock_guard lock(sending_);
    line_.send(to_json(message, 0));
  }

  void check(const CollectiveGroup& group, const std::string& key, std::int64_t sequence, const CollectiveCall& call) {
    const Arrival arrival{.lane = group.lane,
                          .group = group.id,
                          .sequence = sequence,
                          .rank = rank_,
                          .members = sequence == 0 ? group.members : std::vector<int>{},
                          .call = to_string(call),
                          .during = enclosing_activities(),
                          .sends = call.sends,
                          .receives = call.receives};
    send(ConfigValue::map({{"kind", "arrive"}, {"arrival", write_config(arrival)}}));
    std::unique_lock lock(mutex_);
    released_.wait(lock, [&] { return allowed_.erase({key, sequence}) > 0; });
  }

  void watch() {
    while (!stopping_) {
      pollfd watched{.fd = line_.descriptor(), .events = POLLIN, .revents = 0};
      poll(&watched, 1, kPollMilliseconds);
      try {
        if (watched.revents != 0 && !hear()) return lose_hub();
        look_at_deadlines();
      } catch (const std::exception& error) {
        fail_(error);
        return;
      }
    }
  }

  /// False when the hub is gone.
  bool hear() {
    const auto lines = line_.receive();
    if (!lines) return false;
    for (const std::string& line : *lines) {
      const ConfigValue message = parse_json(line, "side channel");
      const std::string& group = message.find("group")->as_string();
      const std::int64_t sequence = message.find("sequence")->as_integer();
      if (message.find("kind")->as_string() == "go") {
        {
          const std::lock_guard lock(mutex_);
          allowed_.insert({group, sequence});
        }
        released_.notify_all();
      } else {
        answer(group, sequence);
      }
    }
    return true;
  }

  void answer(const std::string& group, std::int64_t sequence) {
    ConfigValue lines = ConfigValue::list();
    bool arrived = false;
    {
      const std::lock_guard lock(mutex_);
      arrived = entered_[group] > sequence;
      for (const auto& [number, visit] : visits_) {
        lines.append(concat("in ", visit.call, " over ", visit.group_name, " for ", seconds_since(visit.start), " s"));
      }
    }
    for (const std::string& line : describe_threads()) lines.append(line);
    send(ConfigValue::map({{"kind", "state"}, {"arrived", arrived}, {"lines", std::move(lines)}}));
  }

  void look_at_deadlines() {
    std::optional<Visit> late;
    {
      const std::lock_guard lock(mutex_);
      for (auto& [number, visit] : visits_) {
        const auto over = Clock::now() - visit.start - std::chrono::duration<double>(visit.timeout_seconds);
        if (over > kHubPatience && visit.reported) {
          throw CommunicationError(concat(visit.call, " over ", visit.group_name, " has not ended within ", visit.timeout_seconds,
                                          " s, and rank 0, which would know who is missing, does not answer; see its host"));
        }
        if (over > Clock::duration(0) && !visit.reported) {
          visit.reported = true;
          late = visit;
        }
      }
    }
    if (!late) return;
    ConfigValue members = ConfigValue::list();
    for (const int member : late->members) members.append(member);
    send(ConfigValue::map({{"kind", "late"},
                           {"call", late->call},
                           {"group", late->group},
                           {"group_name", late->group_name},
                           {"sequence", late->sequence},
                           {"members", std::move(members)},
                           {"during", late->during},
                           {"seconds", late->timeout_seconds}}));
  }

  void lose_hub() {
    // A launcher that has noticed ends this process, too; and only one of the others need say it.
    for (int wait = 0; wait < 10 * rank_ && !ending_ && !stopping_; ++wait) std::this_thread::sleep_for(std::chrono::milliseconds(100));
    if (!ending_ && !stopping_) fail_(CommunicationError("job: rank 0 has ended without a word: killed, or crashed; see its output"));
  }

  int rank_;
  LineConnection line_;
  std::unique_ptr<WatchdogHub> hub_;  // of rank 0
  Fail fail_;
  std::mutex sending_;
  std::mutex mutex_;
  std::condition_variable released_;
  std::map<std::string, std::int64_t> entered_;             // collectives of each group
  std::map<std::int64_t, Visit> visits_;                    // by number
  std::set<std::pair<std::string, std::int64_t>> allowed_;  // checked by the hub
  std::int64_t next_visit_ = 0;
  std::atomic<bool> ending_ = false, stopping_ = false;
  std::thread thread_;  // last: it uses the members above
};

ConfigValue write_address(const HubAddress& address) {
  ConfigValue hosts = ConfigValue::list();
  for (const std::string& host : address.hosts) hosts.append(host);
  return ConfigValue::map({{"hosts", hosts}, {"port", address.port}, {"host_name", address.host_name}, {"secret", address.secret}});
}

HubAddress read_address(const ConfigValue& value) {
  HubAddress address;
  for (const ConfigValue& host : value.find("hosts")->elements()) address.hosts.push_back(host.as_string());
  address.port = static_cast<int>(value.find("port")->as_integer());
  address.host_name = value.find("host_name")->as_string();
  address.secret = value.find("secret")->as_string();
  return address;
}

}  // namespace

std::string to_string(const CollectiveCall& call) {
  std::string text = call.name;
  if (*call.op != '\0') text += concat(" ", call.op);
  if (call.root >= 0) text += concat(" from rank ", call.root);
  if (call.elements >= 0) text += concat(" of ", call.elements);
  if (call.elements >= 0 || !call.sends.empty()) text += concat(call.elements >= 0 ? " " : " of ", name_of(call.dtype));
  if (call.counts == nullptr) return text;
  text += " as";
  for (const std::int64_t count : *call.counts) text += concat(" ", count);
  return text;
}

std::shared_ptr<Watchdog> Watchdog::start(Communicator& world, Fail fail) {
  std::unique_ptr<WatchdogHub> hub;
  HubAddress address;
  const std::vector<std::string> hosts = gather_texts(world, host_name());
  const bool one_host = std::ranges::all_of(hosts, [&](const std::string& host) { return host == hosts.front(); });
  if (world.rank() == 0) hub = std::make_unique<WatchdogHub>(HubListener(one_host), world.size(), fail);
  const std::string text = broadcast_text(world, hub ? to_json(write_address(hub->address())) : "", 0);
  std::optional<LineConnection> line = connect_to(read_address(parse_json(text, "side channel")), kConnectPatience);
  if (any_of(world, !line)) {
    if (world.rank() == 0) {
      std::cerr << "job: not all ranks reach rank 0 by TCP, so an exchange that stands still is reported without those who are missing\n";
    }
    return nullptr;
  }
  return std::make_shared<RankWatchdog>(world.rank(), std::move(*line), std::move(hub), std::move(fail));
}

CollectiveVisit::CollectiveVisit(Watchdog* watchdog, const CollectiveGroup& group, const std::string& group_name,
                                 const CollectiveCall& call, double timeout_seconds, const std::int64_t& bytes_sent)
    : activity_(call.name, TraceEvent::Kind::exchange), watchdog_(watchdog), bytes_sent_(bytes_sent), bytes_before_(bytes_sent) {
  if (watchdog_ != nullptr) visit_ = watchdog_->enter(group, group_name, call, timeout_seconds, activity_.event());
}

CollectiveVisit::~CollectiveVisit() {
  activity_.event().bytes = bytes_sent_ - bytes_before_;
  if (watchdog_ != nullptr) watchdog_->leave(visit_);
}

}  // namespace trident
