#include "parallel/watchdog_hub.h"

#include <poll.h>
#include <sys/resource.h>

#include <algorithm>
#include <iterator>

#include "runtime/error.h"

namespace trident {
namespace {

constexpr int kPollMilliseconds = 100;
constexpr auto kPatience = std::chrono::seconds(2);  // for answers of threads that have nothing else to do
constexpr std::size_t kNamed = 8;                    // ranks named one by one
constexpr std::size_t kDescribed = 16;               // ranks whose stacks are printed

/// One connection a rank: more than the usual soft limit in large jobs.
void allow_descriptors() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

std::string listed(const std::vector<std::string>& names) {
  std::string text;
  for (std::size_t i = 0; i < std::min(names.size(), kNamed); ++i) text += (i == 0 ? "" : ", ") + names[i];
  return names.size() <= kNamed ? text : concat(text, " and ", names.size() - kNamed, " more");
}

}  // namespace

WatchdogHub::WatchdogHub(HubListener listener, int num_ranks, Fail fail)
    : listener_(std::move(listener)), num_ranks_(num_ranks), fail_(std::move(fail)), check_([this](int rank) { return name_of(rank); }) {
  allow_descriptors();
  thread_ = std::thread([this] { serve(); });
}

WatchdogHub::~WatchdogHub() {
  stopping_ = true;
  thread_.join();
}

void WatchdogHub::serve() {
  while (!stopping_) {
    std::vector<pollfd> watched{{.fd = listener_.descriptor(), .events = POLLIN, .revents = 0}};
    for (const Client& client : clients_) watched.push_back({.fd = client.line.descriptor(), .events = POLLIN, .revents = 0});
    poll(watched.data(), watched.size(), kPollMilliseconds);
    try {
      auto client = clients_.begin();
      for (std::size_t i = 1; i < watched.size(); ++i) {
        const auto current = client++;
        if (watched[i].revents != 0) hear(*current);
      }
      std::erase_if(clients_, [](const Client& one) { return one.line.descriptor() < 0; });
      if ((watched[0].revents & POLLIN) != 0) {
        if (std::optional<LineConnection> line = listener_.accept()) clients_.push_back({.line = std::move(*line)});
      }
      if (inquiry_ && (all_answered() || Clock::now() > inquiry_->end)) judge();
    } catch (const std::exception& error) {
      fail_(error);
      return;
    }
  }
}

void WatchdogHub::hear(Client& client) {
  const auto lines = client.line.receive();
  if (!lines) {
    lost(client);
    client.line = LineConnection(Socket());
    return;
  }
  for (const std::string& line : *lines) {
    if (client.trusted) {
      handle(client, parse_json(line, "side channel"));
    } else if (line == listener_.address().secret) {
      client.trusted = true;
    } else {
      client.line = LineConnection(Socket());  // not a rank of this job
      return;
    }
  }
}

void WatchdogHub::handle(Client& client, const ConfigValue& message) {
  const std::string& kind = message.find("kind")->as_string();
  if (kind == "hello") {
    client.rank = static_cast<int>(message.find("rank")->as_integer());
  } else if (kind == "place") {
    places_[client.rank] = message.find("text")->as_string();
  } else if (kind == "arrive") {
    const auto arrival = read_config<Arrival>(*message.find("arrival"));
    const std::vector<int> ready = check_.arrive(arrival);
    const std::string go =
        to_json(ConfigValue::map({{"kind", "go"}, {"group", arrival.lane + "/" + arrival.group}, {"sequence", arrival.sequence}}), 0);
    for (Client& other : clients_) {
      if (std::ranges::find(ready, other.rank) != ready.end()) other.line.send(go);
    }
  } else if (kind == "late") {
    if (!inquiry_) ask(message);
  } else if (kind == "state") {
    client.state = message;
  } else if (kind == "failed") {
    client.excused = ending_ = true;
  } else if (kind == "ended") {
    client.excused = true;
  }
}

void WatchdogHub::ask(const ConfigValue& late) {
  inquiry_ = Inquiry{late, Clock::now() + kPatience};
  const std::string question =
      to_json(ConfigValue::map({{"kind", "ask"}, {"group", *late.find("group")}, {"sequence", *late.find("sequence")}}), 0);
  for (Client& client : clients_) client.line.send(question);
}

bool WatchdogHub::all_answered() const {
  const auto answers = std::ranges::count_if(clients_, [](const Client& client) { return client.state.has_value(); });
  return answers == num_ranks_;
}

void WatchdogHub::lost(const Client& client) {
  if (client.rank < 0 || client.excused || ending_) return;
  throw CommunicationError(
      concat("job: ", name_of(client.rank), " has ended without a word: killed, or crashed; see its output above and the log of its host"));
}

const WatchdogHub::Client* WatchdogHub::client_of(int rank) const {
  const auto found = std::ranges::find(clients_, rank, &Client::rank);
  return found == clients_.end() ? nullptr : &*found;
}

std::string WatchdogHub::name_of(int rank) const {
  const auto place = places_.find(rank);
  return place == places_.end() || place->second.empty() ? concat("rank ", rank) : concat("rank ", rank, " (", place->second, ")");
}

/// What the ranks have said, as one error: who has not come, and what everyone does, those who are missed first.
void WatchdogHub::judge() const {
  const ConfigValue& late = inquiry_->late;
  std::vector<std::string> missing, silent;
  std::vector<std::string> of_missing, of_others;
  for (int rank = 0; rank < num_ranks_; ++rank) {
    const Client* const client = client_of(rank);
    const auto is_rank = [&](const ConfigValue& member) { return member.as_integer() == rank; };
    const bool member = std::ranges::any_of(late.find("members")->elements(), is_rank);
    if (client == nullptr || !client->state) {
      silent.push_back(name_of(rank));
      of_missing.push_back(name_of(rank) + ": does not answer: its process is stopped, or its host cannot be reached");
      continue;
    }
    const bool arrived = client->state->find("arrived")->as_bool();
    if (member && !arrived) missing.push_back(name_of(rank));
    std::string text = concat(name_of(rank), ":", member && !arrived ? " has not arrived;" : "");
    for (const ConfigValue& line : client->state->find("lines")->elements()) text += "\n      " + line.as_string();
    (member && !arrived ? of_missing : of_others).push_back(text);
  }
  const std::string& during = late.find("during")->as_string();
  std::string text =
      concat(late.find("call")->as_string(), " over ", late.find("group_name")->as_string(), during.empty() ? "" : " (in " + during + ")",
             " has not ended within ", late.find("seconds")->as_number(), " s: ");
  if (!missing.empty()) text += concat("not arrived: ", listed(missing), "; ");
  if (!silent.empty()) text += concat("no answer from: ", listed(silent), "; ");
  if (missing.empty() && silent.empty()) text += "all ranks have arrived, so the exchange itself stands still; see the network; ";
  text += "find out what keeps them, or raise parallel.timeout_seconds";
  std::move(of_others.begin(), of_others.end(), std::back_inserter(of_missing));
  for (std::size_t i = 0; i < std::min(of_missing.size(), kDescribed); ++i) text += "\n    " + of_missing[i];
  if (of_missing.size() > kDescribed) text += concat("\n    and ", of_missing.size() - kDescribed, " more ranks");
  throw CommunicationError(text);
}

}  // namespace trident
