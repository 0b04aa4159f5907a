#include "parallel/placement.h"

#include <algorithm>
#include <numeric>

#include "parallel/messages.h"

namespace trident {

std::vector<int> places_by_host(const std::vector<int>& hosts) {
  // Hosts in the order of their first ranks: rank 0 stays the first.
  const auto first_of = [&](int rank) {
    return std::find(hosts.begin(), hosts.end(), hosts[static_cast<std::size_t>(rank)]) - hosts.begin();
  };
  std::vector<int> ranks(hosts.size()), places(hosts.size());
  std::iota(ranks.begin(), ranks.end(), 0);
  std::ranges::stable_sort(ranks, {}, first_of);
  for (std::size_t place = 0; place < ranks.size(); ++place) places[static_cast<std::size_t>(ranks[place])] = static_cast<int>(place);
  return places;
}

std::shared_ptr<Communicator> ranks_by_host(const Session& session) {
  const std::shared_ptr<Communicator>& world = session.world();
  const std::string first_of_host = broadcast_text(session.host(), std::to_string(world->rank()), 0);
  std::vector<int> hosts;
  for (const std::string& host : gather_texts(*world, first_of_host)) hosts.push_back(std::stoi(host));
  const std::vector<int> places = places_by_host(hosts);
  if (std::ranges::is_sorted(places)) return world;
  return world->split(0, places[static_cast<std::size_t>(world->rank())]);
}

}  // namespace trident
