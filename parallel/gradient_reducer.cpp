#include "parallel/gradient_reducer.h"

#include <unordered_map>
#include <utility>
#include <vector>

#include "runtime/activity.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"

namespace trident {
namespace {

struct Bucket {
  AxisSet axes;     // that sum it
  Tensor gradient;  // flat: its parameters and the gaps between them
  Tensor own;       // this rank's share of it; undefined if all ranks get the whole sum
  std::vector<std::int64_t> counts;
  const char* label = "";  // for reports and traces
  std::size_t parameters = 0;
  std::size_t missing = 0;  // parameters whose gradients are not final
};

}  // namespace

struct GradientReducer::State {
  State(const ParameterList& parameters, const FlatShares& shares) : mesh(shares.mesh().background()) {
    for (const FlatBucket& bucket : shares.buckets()) {
      if (mesh.size(bucket.axes) == 1) continue;
      const auto window = [&](Range range) { return view::slice(parameters.gradients(), 0, range.first, range.last); };
      for (std::size_t entry = bucket.first_entry; entry < bucket.last_entry; ++entry) {
        bucket_of[parameters.entries()[entry].value.node().get()] = buckets.size();
      }
      buckets.push_back({.axes = bucket.axes,
                         .gradient = window({bucket.begin(), bucket.end()}),
                         .own = shares.is_shared_out(bucket) ? window(shares.own(bucket)) : Tensor{},
                         .counts = bucket.counts(),
                         .label = interned("gradients from " + parameters.entries()[bucket.first_entry].name),
                         .parameters = bucket.last_entry - bucket.first_entry});
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
    const Activity sending(bucket.label);
    mesh.stream().enqueue([bucket, &comm = mesh.comm(bucket.axes)] {
      if (bucket.own.defined()) {
        comm.reduce_scatter(bucket.gradient, bucket.own, bucket.counts);
      } else {
        comm.all_reduce(bucket.gradient, ReduceOp::sum);
      }
    });
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
    mesh.stream().synchronize();
    mesh.world().broadcast(shared, 0);
    order = to_host<std::int64_t>(shared);
  }

  Mesh mesh;
  std::vector<Bucket> buckets;
  std::unordered_map<const Node*, std::size_t> bucket_of;
  std::vector<std::int64_t> order;     // in which buckets leave; empty before the first backward
  std::vector<std::int64_t> complete;  // in this backward
  std::size_t next = 0;                // of `order`
};

GradientReducer::GradientReducer(const ParameterList& parameters, const FlatShares& shares)
    : state_(std::make_shared<State>(parameters, shares)) {}

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
