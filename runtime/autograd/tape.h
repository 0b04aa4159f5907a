/// The tape: what was computed, in order, with what it takes to run it backward.
///
/// Conventions (docs/gradients.md): the objective is the sum of the ranks' loss shares; the gradient of a complex tensor is
/// dL/dRe + i dL/dIm; a leaf's gradient is added to, and overwritten only where it is blank; nodes run backward in descending record
/// number.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "runtime/tensor/tensor.h"

namespace trident {

class BackwardRun;

/// Where a closure puts the gradient of an input: memory in which the tape collects it, or memory of its own.
struct GradientPlace {
  Tensor to;          // row-major; undefined where no gradient is wanted
  bool adds = false;  // to the numbers that lie there; else it overwrites them
  Tensor result{};    // what the closure returns for this input: `to`, or none where the tape collects it there
};
/// Adds a gradient to what lies in `place`, or overwrites it; in the number type of `place`.
void put(const GradientPlace& place, const Tensor& gradient);

/// Which inputs of a node want a gradient, and where it goes. Frozen weights and data cost nothing.
class Wanted {
 public:
  Wanted(const Node& node, BackwardRun& run) : node_(&node), run_(&run) {}
  bool operator[](std::size_t input) const;
  /// Where to put the gradient of an input in the number type that the closure writes: where the input's gradients meet, if there are some
  /// already or it is a leaf, so that no pass of its own adds them. A closure that calls this must write there.
  GradientPlace place(std::size_t input, const Shape& shape, DType dtype, Device device) const;
  /// The same where the input is a leaf, in the leaf's type; else nothing, and the closure returns a gradient.
  GradientPlace place_in_leaf(std::size_t input, const Shape& shape, Device device) const;
  /// For the closure that computes all of an input's gradient: where the gradient of a bias in that input goes (with_bias), the sum over
  /// the rows. Nowhere if there is none, or if that is not for the closure to say. One that asks must write there.
  GradientPlace place_of_bias(std::size_t input, const Shape& shape, DType dtype, Device device) const;

 private:
  bool is_given_once(std::size_t input) const;  // else it depends on the closure which of its gradients is written first

  const Node* node_;
  BackwardRun* run_;
};

/// Given the gradient of a node's output, returns one gradient per input, in their order; undefined where not wanted, zero or put
/// where the tape collects it.
using Backward = std::function<std::vector<Tensor>(const Tensor& dy, Wanted wanted)>;

/// A computed value's place on the tape, or a leaf (no inputs; its gradient is kept).
struct Node {
  const char* name = "";
  std::uint64_t number = 0;                   // in record order
  std::vector<std::shared_ptr<Node>> inputs;  // null where no gradient flows
  Backward backward;
  std::function<Tensor()> block;  // set instead of `backward`: run again, and the tape of that run goes backward in the node's place
  int bias = -1;                  // with_bias: the input that is added to every row
  int uses = 0;                   // with_bias: how often the output is an input
  bool bias_is_done = false;      // the bias's gradient was computed with the output's
  bool leaf = false;
  DType dtype = DType::f32;  // leaves only: of their gradient, whatever type its addends come in
  Tensor gradient;           // leaves only: what backward adds to
  bool blank = false;        // leaves only: the numbers in `gradient` count for nothing; the first gradient to come overwrites them

  ~Node();  // releases long chains without recursion
};

/// Makes `value` a leaf whose gradient is added into `gradient` (same shape and type, zeroed by the caller; allocated if undefined).
Tensor leaf(const Tensor& value, Tensor gradient = {});
/// Writes zeros where a leaf's gradient is blank still.
void complete_gradient(Node& leaf);
/// The gradient collected by a leaf; undefined if none has arrived.
Tensor gradient_of(const Tensor& leaf);

/// Puts `output` on the tape. Returns it unrecorded if recording is off or no input has a gradient.
/// `backward` must not hold `output` itself as recorded (a cycle): capture it before this call.
[[nodiscard]] Tensor record(const char* name, const Tensor& output, const std::vector<Tensor>& inputs, Backward backward);

/// Says that y, as recorded, has its input number `bias` added to every row: to every one of its last axis. The bias's gradient can then be
/// computed with y's by the operation that y goes into, which spares a pass over it.
[[nodiscard]] Tensor with_bias(const Tensor& y, int bias);

/// Given the gradients of a node's outputs, undefined where none has arrived, returns those of its inputs as `Backward` does.
using BackwardOfAll = std::function<std::vector<Tensor>(const std::vector<Tensor>& dys, Wanted wanted)>;

/// record() for an operation with several outputs, which are handed out in their order. `backward` runs once, when the gradients of all of
/// them are there.
[[nodiscard]] std::vector<Tensor> record_all(const char* name, std::vector<Tensor> outputs, const std::vector<Tensor>& inputs,
                                             BackwardOfAll backward);

/// Switches recording for the current thread while it lives.
class Recording {
 public:
  explicit Recording(bool on);
  ~Recording();
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;
  static bool is_on();

 private:
  bool before_;
};

/// Called with a leaf whose gradient is final: its last use reachable from the loss has run backward.
using OnFinal = std::function<void(const Node& leaf)>;

/// Runs the tape backward from `share` (one element), adding to the gradients of all leaves below it. Closures are destroyed after
/// running: a tape runs backward once.
void backward(const Tensor& share, const OnFinal& on_final = {});

/// The gradients of <y, dy> with respect to `inputs` (each on the tape); stops there and touches no other leaf.
std::vector<Tensor> gradients(const Tensor& y, const Tensor& dy, const std::vector<Tensor>& inputs);

/// Remembers how far the tape had got, to find what was recorded later.
class TapeMark {
 public:
  TapeMark();
  /// The older nodes and leaves directly under what was recorded between the mark and y, each once, as handles without memory.
  std::vector<Tensor> inputs_of(const Tensor& y) const;

 private:
  std::uint64_t number_;
};

/// Computes block() without keeping its intermediate values; the backward runs it again (activation checkpointing). Gradients are those
/// without it, bit for bit. `block` captures its random keys by value, so random numbers repeat.
Tensor recompute(const std::function<Tensor()>& block);
/// Whether the block of a recompute() runs again on this thread: what it changed besides its result (running statistics) is changed
/// already.
bool runs_again();

}  // namespace trident
