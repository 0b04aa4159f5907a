#include "runtime/autograd/tape.h"

#include <algorithm>
#include <atomic>
#include <queue>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "runtime/activity.h"
#include "runtime/error.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

std::atomic<std::uint64_t> next_number = 1;  // of the process, so that a tape may run backward on another thread than recorded it
thread_local bool recording = true;
thread_local bool again = false;

/// While it lives, a block runs again.
struct RunningAgain {
  RunningAgain() { again = true; }
  ~RunningAgain() { again = false; }
};

/// A copy of x, in another number type too.
Tensor copy_of(const Tensor& x, DType dtype) {
  const Tensor y = empty(x.shape(), dtype, x.device());
  copy_into(y, x);
  return y;
}

struct Newest {
  bool operator()(const std::shared_ptr<Node>& a, const std::shared_ptr<Node>& b) const { return a->number < b->number; }
};

}  // namespace

/// One run backward. Gradients that meet are added in the order of arrival, which is the descending record order on every rank.
class BackwardRun {
 public:
  explicit BackwardRun(const std::vector<Tensor>* stops) {
    if (stops == nullptr) return;
    collects_ = true;
    for (const Tensor& stop : *stops) stops_.insert(stop.node().get());
  }

  void start(const std::shared_ptr<Node>& root, const Tensor& dy, const OnFinal& on_final) {
    if (on_final) count_uses(root, 0);
    arrive(root, dy);
    while (!queue_.empty()) {
      const std::shared_ptr<Node> node = queue_.top();
      queue_.pop();
      queued_.erase(node.get());  // a node of a block that runs again may come to lie at its address
      if (stops_.contains(node.get())) continue;
      if (node->leaf) continue;
      run(node, on_final);
    }
  }

  Tensor taken(const Node* node) {
    const auto found = gradients_.find(node);
    return found == gradients_.end() ? Tensor{} : found->second;
  }

  bool wants(const Node* node) const { return node != nullptr && !(collects_ && node->leaf && !stops_.contains(node)); }

  /// Where the node's gradients meet, if those of this type can be put there.
  GradientPlace meeting_place(Node& node, const Shape& shape, DType dtype, Device device) {
    if (adds_to(node)) {
      const bool fits = node.dtype == dtype && (!node.gradient.defined() || node.gradient.is_contiguous());
      return fits ? place_in(node, shape, device) : GradientPlace{};
    }
    const auto found = gradients_.find(&node);
    if (found == gradients_.end() || !found->second.defined() || found->second.dtype() != dtype) return {};
    return {.to = own(found->second), .adds = true};
  }

  GradientPlace place_in_leaf(Node& node, const Shape& shape, Device device) const {
    return adds_to(node) ? place_in(node, shape, device) : GradientPlace{};
  }

  /// The same for the bias of a node whose gradient has one part.
  GradientPlace place_of_bias(Node& node, const Shape& shape, DType dtype, Device device) {
    if (node.bias < 0 || node.uses != 1) return {};
    Node* bias = node.inputs[static_cast<std::size_t>(node.bias)].get();
    if (bias == nullptr || !adds_to(*bias)) return {};
    const GradientPlace place = meeting_place(*bias, shape, dtype, device);
    node.bias_is_done = place.to.defined();
    return place;
  }

 private:
  void run(const std::shared_ptr<Node>& node, const OnFinal& on_final) {
    const Tensor dy = std::move(gradients_[node.get()]);
    gradients_.erase(node.get());
    if (!dy.defined()) return pass_on_nothing(node, on_final);
    if (node->block) return splice(node, dy, on_final);
    if (!node->backward) throw Error(concat("backward: \"", node->name, "\" has run backward already; record the forward again"));
    std::vector<Tensor> results = [&] {
      const Activity running(node->name);
      const Recording off(false);
      return node->backward(dy, Wanted(*node, *this));
    }();
    if (results.size() != node->inputs.size()) {
      throw Error(concat("backward: \"", node->name, "\" returned ", results.size(), " gradients for ", node->inputs.size(), " inputs"));
    }
    hand_on(node, std::move(results), on_final);
  }

  /// Runs the node's block again. Its nodes are the newest, so they go backward next, in the order that they would have had.
  void splice(const std::shared_ptr<Node>& node, const Tensor& dy, const OnFinal& on_final) {
    const std::uint64_t first = next_number;
    const Tensor y = [&] {
      const Recording on(true);
      const RunningAgain running;
      return node->block();
    }();
    if (y.node()) {
      if (on_final) count_uses(y.node(), first);
      arrive(y.node(), dy);
    }
    pass_on_nothing(node, on_final);
  }

  /// No gradient has reached the node: none reaches its inputs from here, but their uses are over.
  void pass_on_nothing(const std::shared_ptr<Node>& node, const OnFinal& on_final) {
    hand_on(node, std::vector<Tensor>(node->inputs.size()), on_final);
  }

  void hand_on(const std::shared_ptr<Node>& node, std::vector<Tensor> results, const OnFinal& on_final) {
    node->backward = nullptr;  // what the closures hold is free from here on
    node->block = nullptr;
    const std::vector<std::shared_ptr<Node>> inputs = std::exchange(node->inputs, {});
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      if (!inputs[i]) continue;
      arrive(inputs[i], std::exchange(results[i], {}));
      if (!on_final || !inputs[i]->leaf || --uses_[inputs[i].get()] > 0) continue;
      complete_gradient(*inputs[i]);
      on_final(*inputs[i]);
    }
  }

  void arrive(const std::shared_ptr<Node>& node, Tensor dy) {
    if (!wants(node.get())) return;
    if (adds_to(*node)) {
      if (dy.defined()) put(place_in(*node, dy.shape(), dy.device()), dy);
      return;
    }
    if (queued_.insert(node.get()).second) queue_.push(node);
    Tensor& sum = gradients_[node.get()];
    if (!dy.defined()) return;
    if (!sum.defined()) {
      sum = std::move(dy);
    } else {
      add_into(own(sum), dy);
    }
  }

  /// Whether gradients are added up in the node itself.
  bool adds_to(const Node& node) const { return node.leaf && !collects_; }

  static GradientPlace place_in(Node& leaf, const Shape& shape, Device device) {
    const bool is_first = std::exchange(leaf.blank, false) || !leaf.gradient.defined();
    if (!leaf.gradient.defined()) leaf.gradient = empty(shape, leaf.dtype, device);
    return {.to = leaf.gradient, .adds = !is_first};
  }

  /// `sum` in row-major memory that nobody else holds.
  static const Tensor& own(Tensor& sum) {
    if (sum.storage().use_count() != 1 || !sum.is_contiguous()) sum = copy_of(sum, sum.dtype());
    return sum;
  }

  /// Adds the uses of leaves by nodes under `root` that were recorded from number `first` on.
  void count_uses(const std::shared_ptr<Node>& root, std::uint64_t first) {
    std::vector<const Node*> todo{root.get()};
    std::unordered_set<const Node*> seen{root.get()};
    while (!todo.empty()) {
      const Node* node = todo.back();
      todo.pop_back();
      if (node->number < first) continue;
      for (const auto& input : node->inputs) {
        if (!input) continue;
        if (input->leaf) ++uses_[input.get()];
        if (seen.insert(input.get()).second) todo.push_back(input.get());
      }
    }
  }

  bool collects_ = false;
  std::unordered_set<const Node*> stops_;
  std::unordered_set<const Node*> queued_;
  std::unordered_map<const Node*, Tensor> gradients_;
  std::unordered_map<const Node*, int> uses_;
  std::priority_queue<std::shared_ptr<Node>, std::vector<std::shared_ptr<Node>>, Newest> queue_;
};

void put(const GradientPlace& place, const Tensor& gradient) {
  if (!place.adds) return copy_into(place.to, gradient);
  const DType dtype = place.to.dtype();
  add_into(place.to, gradient.dtype() == dtype ? gradient : copy_of(gradient, dtype));
}

bool Wanted::operator[](std::size_t input) const {
  const bool done = node_->bias_is_done && input == static_cast<std::size_t>(node_->bias);
  return !done && run_->wants(node_->inputs[input].get());
}

bool Wanted::is_given_once(std::size_t input) const { return std::ranges::count(node_->inputs, node_->inputs[input]) == 1; }

GradientPlace Wanted::place(std::size_t input, const Shape& shape, DType dtype, Device device) const {
  if (!(*this)[input]) return {};
  if (is_given_once(input)) {
    const GradientPlace place = run_->meeting_place(*node_->inputs[input], shape, dtype, device);
    if (place.to.defined()) return place;
  }
  const Tensor memory = empty(shape, dtype, device);
  return {.to = memory, .adds = false, .result = memory};
}

GradientPlace Wanted::place_in_leaf(std::size_t input, const Shape& shape, Device device) const {
  if (!(*this)[input] || !is_given_once(input)) return {};
  return run_->place_in_leaf(*node_->inputs[input], shape, device);
}

GradientPlace Wanted::place_of_bias(std::size_t input, const Shape& shape, DType dtype, Device device) const {
  return (*this)[input] ? run_->place_of_bias(*node_->inputs[input], shape, dtype, device) : GradientPlace{};
}

Node::~Node() {
  // A tape that is dropped without a backward is a chain of thousands: take it apart in a loop, not by recursion.
  std::vector<std::shared_ptr<Node>> dying = std::exchange(inputs, {});
  backward = nullptr;
  block = nullptr;
  while (!dying.empty()) {
    const std::shared_ptr<Node> node = std::move(dying.back());
    dying.pop_back();
    if (node && node.use_count() == 1) {
      std::move(node->inputs.begin(), node->inputs.end(), std::back_inserter(dying));
      node->inputs.clear();
      node->backward = nullptr;
      node->block = nullptr;
    }
  }
}

Tensor leaf(const Tensor& value, Tensor gradient) {
  auto node = std::make_shared<Node>();
  node->name = "leaf";
  node->number = next_number++;
  node->leaf = true;
  node->dtype = value.dtype();
  node->gradient = std::move(gradient);
  return value.with_node(std::move(node));
}

void complete_gradient(Node& leaf) {
  if (std::exchange(leaf.blank, false)) set_zero(leaf.gradient);
}

Tensor gradient_of(const Tensor& leaf) { return leaf.node() ? leaf.node()->gradient : Tensor{}; }

Tensor record(const char* name, const Tensor& output, const std::vector<Tensor>& inputs, Backward backward) {
  note_operation(name);
  const bool any = std::any_of(inputs.begin(), inputs.end(), [](const Tensor& x) { return x.node() != nullptr; });
  if (!recording || !any) return output.detached();
  auto node = std::make_shared<Node>();
  node->name = name;
  node->number = next_number++;
  node->inputs.reserve(inputs.size());
  for (const Tensor& input : inputs) {
    node->inputs.push_back(input.node());
    if (input.node() && input.node()->bias >= 0) ++input.node()->uses;
  }
  node->backward = std::move(backward);
  return output.with_node(std::move(node));
}

Tensor with_bias(const Tensor& y, int bias) {
  if (y.node()) y.node()->bias = bias;
  return y;
}

std::vector<Tensor> record_all(const char* name, std::vector<Tensor> outputs, const std::vector<Tensor>& inputs, BackwardOfAll backward) {
  // The operation's node has an output without numbers, which every output's node has as input: it comes after all of them in the backward.
  const auto none = [] { return empty({0}, DType::f32); };
  const auto arrived = std::make_shared<std::vector<Tensor>>(outputs.size());
  const Tensor all = record(name, none(), inputs,
                            [arrived, backward = std::move(backward)](const Tensor&, Wanted wanted) { return backward(*arrived, wanted); });
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    outputs[i] = record(name, outputs[i], {all}, [arrived, none, i](const Tensor& dy, Wanted) {
      (*arrived)[i] = dy;
      return std::vector{none()};
    });
  }
  return outputs;
}

Recording::Recording(bool on) : before_(std::exchange(recording, on)) {}
Recording::~Recording() { recording = before_; }
bool Recording::is_on() { return recording; }

void backward(const Tensor& share, const OnFinal& on_final) {
  if (share.numel() != 1) throw ShapeError(concat("backward: starts from one number, got shape ", to_string(share.shape())));
  if (!share.node()) throw ShapeError("backward: the loss does not depend on any leaf; was recording off?");
  BackwardRun(nullptr).start(share.node(), full(share.shape(), 1.0, share.dtype(), share.device()), on_final);
}

std::vector<Tensor> gradients(const Tensor& y, const Tensor& dy, const std::vector<Tensor>& inputs) {
  BackwardRun run(&inputs);
  if (y.node()) run.start(y.node(), dy, {});
  std::vector<Tensor> results;
  results.reserve(inputs.size());
  for (const Tensor& input : inputs) results.push_back(run.taken(input.node().get()));
  return results;
}

TapeMark::TapeMark() : number_(next_number) {}

std::vector<Tensor> TapeMark::inputs_of(const Tensor& y) const {
  std::vector<Tensor> found;
  if (!y.node()) return found;
  std::unordered_set<const Node*> seen;
  std::vector<std::shared_ptr<Node>> todo{y.node()};
  while (!todo.empty()) {
    const std::shared_ptr<Node> node = std::move(todo.back());
    todo.pop_back();
    if (!seen.insert(node.get()).second) continue;
    if (node->number < number_ || node->leaf) {
      found.push_back(Tensor{}.with_node(node));
      continue;
    }
    for (const auto& input : node->inputs) {
      if (input) todo.push_back(input);
    }
  }
  // The order of discovery depends on the graph alone, but sorting makes it obvious that all ranks agree.
  std::sort(found.begin(), found.end(), [](const Tensor& a, const Tensor& b) { return a.node()->number < b.node()->number; });
  return found;
}

Tensor recompute(const std::function<Tensor()>& block) {
  const TapeMark mark;
  const Tensor y = block();
  const std::vector<Tensor> inputs = mark.inputs_of(y);
  const Tensor recorded = record("recompute", y, inputs, {});
  if (recorded.node()) recorded.node()->block = block;
  return recorded;
}

bool runs_again() { return again; }

}  // namespace trident
