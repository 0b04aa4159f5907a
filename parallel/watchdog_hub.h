/// Rank 0's end of the side channel: checks arrivals, and when a deadline has passed asks all ranks and says what it has learned.
#pragma once

#include <atomic>
#include <chrono>
#include <exception>
#include <functional>
#include <list>
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "parallel/collective_check.h"
#include "parallel/side_channel.h"
#include "runtime/config.h"

namespace trident {

class WatchdogHub {
 public:
  using Fail = std::function<void(const std::exception&)>;
  WatchdogHub(HubListener listener, int num_ranks, Fail fail);
  ~WatchdogHub();
  const HubAddress& address() const { return listener_.address(); }

 private:
  using Clock = std::chrono::steady_clock;
  struct Client {
    LineConnection line;
    bool trusted = false;
    int rank = -1;
    bool excused = false;  // its end is no accident
    std::string place{};
    std::optional<ConfigValue> state{};  // the answer to the inquiry
  };
  /// A rank that waits in a collective past its deadline.
  struct Inquiry {
    ConfigValue late;
    Clock::time_point end;
  };

  void serve();
  void hear(Client& client);
  void handle(Client& client, const ConfigValue& message);
  void ask(const ConfigValue& late);
  void lost(const Client& client);
  bool all_answered() const;
  [[noreturn]] void judge() const;
  std::string name_of(int rank) const;
  const Client* client_of(int rank) const;

  HubListener listener_;
  int num_ranks_;
  Fail fail_;
  std::list<Client> clients_;
  std::map<int, std::string> places_;
  CollectiveCheck check_;
  std::optional<Inquiry> inquiry_;
  bool ending_ = false;  // a rank has said why it ends: the end of others is its consequence
  std::atomic<bool> stopping_ = false;
  std::thread thread_;  // last: it uses the members above
};

}  // namespace trident
