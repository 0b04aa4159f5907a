#include "parallel/tape_agreement.h"

#include <algorithm>
#include <unordered_set>
#include <utility>
#include <vector>

#include "parallel/messages.h"
#include "runtime/autograd/tape.h"
#include "runtime/error.h"

namespace trident {
namespace {

/// The operations under x, newest first.
std::vector<const Node*> operations_under(const Tensor& x) {
  std::vector<const Node*> found;
  if (!x.node()) return found;
  std::unordered_set<const Node*> seen{x.node().get()};
  std::vector<const Node*> todo{x.node().get()};
  while (!todo.empty()) {
    const Node* node = todo.back();
    todo.pop_back();
    found.push_back(node);
    for (const auto& input : node->inputs) {
      if (input && seen.insert(input.get()).second) todo.push_back(input.get());
    }
  }
  std::sort(found.begin(), found.end(), [](const Node* a, const Node* b) { return a->number > b->number; });
  return found;
}

}  // namespace

void require_same_tape(const Mesh& mesh, const Tensor& share) {
  if (mesh.world().size() == 1) return;
  std::string names;
  for (const Node* node : operations_under(share)) {
    names += node->name;
    names += '\n';
  }
  mesh.stream().synchronize();
  const AxisSet exchanging = Axis::domain_y | Axis::domain_x;
  Communicator& comm = mesh.comm(mesh.size(exchanging) > 1 ? exchanging | Axis::tensor : AxisSet::all());
  const std::vector<std::string> all = gather_texts(comm, names);
  for (std::size_t rank = 1; rank < all.size(); ++rank) {
    if (all[rank] == all[0]) continue;
    const auto [mine, theirs] = std::mismatch(all[0].begin(), all[0].end(), all[rank].begin(), all[rank].end());
    const auto place = std::count(all[0].begin(), mine, '\n');
    throw CommunicationError(concat("backward: rank ", rank, " has recorded ", std::count(all[rank].begin(), all[rank].end(), '\n'),
                                    " operations, rank 0 ", std::count(all[0].begin(), all[0].end(), '\n'), "; from the loss down, number ",
                                    place, " is the first that differs; an operation must record on ranks with nothing to do, too"));
  }
}

}  // namespace trident
