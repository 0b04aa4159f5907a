#include "parallel/gradient_reducer.h"

#include <unordered_map>
#include <utility>
#include <vector>

#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"

namespace trident {
namespace {

struct Bucket {
  AxisSet axes;     // that sum it
  Tensor gradient;  // flat: its parameters and the gaps between them
  int parameters = 0;
  int missing = 0;  // parameters whose gradients are not final
};

/// Consecutive entries with the same axes, until a bucket is full; those of prepare(), final last of all, in buckets of their own.
struct Cut {
  AxisSet axes;
  bool prepared = false;
  bool operator==(const Cut&) const = default;
};

/// Numbers of an entry on a rank, taken from the whole tensors alone: ranks that hold more or less of them cut the same buckets.
std::int64_t even_share(const ParameterList::Entry& entry, const Mesh& mesh) {
  std::int64_t whole = 0;
  for (const NamedPiece& piece : entry.pieces) whole += reals_in(piece.piece.full_shape, piece.piece.numbers);
  return whole / mesh.size(AxisSet::all().without(entry.replicated));
}

}  // namespace

struct GradientReducer::State {
  State(const ParameterList& parameters, const Mesh& the_mesh, std::int64_t bucket_bytes) : mesh(the_mesh) {
    Cut cut;
    std::int64_t begin = 0, elements = 0;
    const Tensor& flat = parameters.gradients();
    const auto& entries = parameters.entries();
    for (std::size_t i = 0; i < entries.size() && entries[i].trainable; ++i) {
      const ParameterList::Entry& entry = entries[i];
      if (mesh.size(entry.replicated) == 1) continue;
      const Cut its{entry.replicated, entry.prepared};
      const bool full = elements * static_cast<std::int64_t>(size_of(flat.dtype())) >= bucket_bytes;
      if (buckets.empty() || full || !(its == cut)) {
        buckets.emplace_back().axes = entry.replicated;
        begin = entry.offset;
        elements = 0;
        cut = its;
      }
      elements += even_share(entry, mesh);
      const std::int64_t end = i + 1 < entries.size() && entries[i + 1].trainable ? entries[i + 1].offset : flat.numel();
      buckets.back().gradient = view::slice(flat, 0, begin, end);
      ++buckets.back().parameters;
      bucket_of[entry.value.node().get()] = buckets.size() - 1;
    }
  }

  void start() {
    next = 0;
    complete.clear();
    for (Bucket& bucket : buckets) bucket.missing = bucket.parameters;
  }

  void is_final(const Node& leaf) {
    const auto found = bucket_of.find(&leaf);
    if (found == bucket_of.end() || --buckets[found->second].missing > 0) return;
    complete.push_back(static_cast<std::int64_t>(found->second));
    while (next < order.size() && buckets[static_cast<std::size_t>(order[next])].missing == 0) send(order[next++]);
  }

  void send(std::int64_t index) {
    const Bucket& bucket = buckets[static_cast<std::size_t>(index)];
    mesh.stream().enqueue([gradient = bucket.gradient, &comm = mesh.comm(bucket.axes)] { comm.all_reduce(gradient, ReduceOp::sum); });
  }

  /// What rank 0 saw in this backward; buckets that it never completed come last.
  void learn_order() {
    std::vector<bool> seen(buckets.size());
    order = complete;
    for (const std::int64_t index : order) seen[static_cast<std::size_t>(index)] = true;
    for (std::size_t index = 0; index < seen.size(); ++index) {
      if (!seen[index]) order.push_back(static_cast<std::int64_t>(index));
    }
    const Tensor shared = from_values<std::int64_t>({static_cast<std::int64_t>(order.size())}, order);
    mesh.stream().enqueue([shared, &comm = mesh.world()] { comm.broadcast(shared, 0); });
    mesh.stream().synchronize();
    order = to_host<std::int64_t>(shared);
  }

  Mesh mesh;
  std::vector<Bucket> buckets;
  std::unordered_map<const Node*, std::size_t> bucket_of;
  std::vector<std::int64_t> order;     // in which buckets leave; empty before the first backward
  std::vector<std::int64_t> complete;  // in this backward
  std::size_t next = 0;                // of `order`
};

GradientReducer::GradientReducer(const ParameterList& parameters, const Mesh& mesh, std::int64_t bucket_bytes)
    : state_(std::make_shared<State>(parameters, mesh, bucket_bytes)) {}

OnFinal GradientReducer::on_final() {
  if (state_->buckets.empty()) return {};
  state_->start();
  return [state = state_](const Node& leaf) { state->is_final(leaf); };
}

void GradientReducer::finish() {
  if (state_->buckets.empty()) return;
  if (state_->order.empty()) state_->learn_order();
  while (state_->next < state_->order.size()) state_->send(state_->order[state_->next++]);
  state_->mesh.stream().synchronize();
  state_->next = 0;
}

}  // namespace trident
