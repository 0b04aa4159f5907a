/// Parameters: what the public references name, and how this rank holds it.
///
/// A physical tensor (one tape leaf) consists of named pieces with holes between them: query, key and value weights are one
/// matrix here and three names on disk; the key bias, which the reference lacks, is a hole. Initialisation, optimiser groups, gradient
/// sums, checkpoints, conversion and `inspect` read the pieces and nothing else.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "parallel/mesh.h"
#include "parallel/range.h"
#include "runtime/tensor/random.h"
#include "runtime/tensor/tensor.h"

namespace trident {

/// How a piece starts: each element from the global index of its own. Complex: a constant is real; a normal number has its deviation in
/// sqrt(mean |z|^2), half of the variance in each part, as the reference draws it.
struct Init {
  enum class Kind { constant, normal, uniform };
  Kind kind = Kind::constant;
  double a = 0.0;  // constant: the value; normal: mean; uniform: lower bound
  double b = 0.0;  // normal: standard deviation; uniform: upper bound

  static Init constant(double value) { return {Kind::constant, value, 0.0}; }
  static Init normal(double deviation) { return {Kind::normal, 0.0, deviation}; }
  static Init uniform(double lower, double upper) { return {Kind::uniform, lower, upper}; }
};

/// A complex number takes two reals of the flat buffers, re and im side by side.
enum class Numbers { real, complex };
/// How many reals a tensor of this shape takes.
inline std::int64_t reals_in(const Shape& shape, Numbers numbers) { return numel(shape) * (numbers == Numbers::complex ? 2 : 1); }

/// One named tensor of the reference, or this rank's part of it, inside a physical tensor.
struct Piece {
  std::string name;          // relative to the module; empty if the parameter's own name is the whole name
  Shape full_shape;          // as the reference stores it
  std::vector<Range> owned;  // per dimension of full_shape: what this rank holds, row-major at `offset`
  std::int64_t offset = 0;   // elements into the physical tensor
  Init init;
  // Where fusing changes the reference's order (query.bias stands between query.weight and key.weight): neighbours in visiting order that
  // have a place are listed by it. 0: listed where it is visited.
  int place = 0;
  Numbers numbers = Numbers::real;  // the same for all pieces of a physical tensor
};

/// A physical tensor: description first, memory after materialize().
struct Parameter {
  Shape shape;                          // on this rank
  std::vector<Piece> pieces;            // ascending offsets
  AxisSet replicated = AxisSet::all();  // axes over which ranks hold the same: its gradient is summed over them
  bool prepared = false;  // read by prepare() alone, so its gradient is final last: kept apart, it delays no other gradient's sum
  Tensor value;           // a tape leaf in training, c64 or c128 if its pieces are complex; undefined before materialize()
  Tensor rounded{};       // the value in bf16, with the value's place on the tape; undefined unless materialized so

  bool defined() const { return value.defined(); }
  /// What to compute with beside activations of this type: the value itself, or for bf16 its copy. Gradients go to the value either way.
  const Tensor& in(DType activations) const { return activations == DType::bf16 ? rounded : value; }
};

/// The common case: one piece that is the whole tensor, the same on every rank.
Parameter whole_parameter(const Shape& shape, Init init, Numbers numbers = Numbers::real);

/// State that is saved but not trained (running statistics): same on every rank.
struct Buffer {
  Shape shape;
  double initial = 0.0;
  DType dtype = DType::f32;  // i64 buffers (num_batches_tracked) keep their type; others take the model's
  Tensor value;
};

/// Walks a module tree and hands every parameter and buffer over with its full dotted name.
struct ParameterVisitor {
  std::function<void(const std::string& name, Parameter&)> parameter = [](const std::string&, Parameter&) {};
  std::function<void(const std::string& name, Buffer&)> buffer = [](const std::string&, Buffer&) {};
};

/// One named tensor as checkpoints see it.
struct NamedPiece {
  std::string name;  // full, as in the public reference
  Piece piece;
  Tensor value;             // flat view (elements,) of this rank's part inside the physical tensor; complex if the piece is
  Tensor gradient;          // likewise; undefined when not trained
  std::int64_t offset = 0;  // of the first number in the flat buffers
  std::int64_t size = 0;    // numbers in the flat buffers: two for a complex element
  AxisSet replicated;       // axes over which ranks hold the same part
  bool trainable = true;

  /// Its part (elements,), complex if it is, of a flat buffer that is laid out like the parameters': of moments, for instance.
  Tensor in(const Tensor& flat) const;
};

/// All parameters of a model in one flat buffer of values (and one of gradients when training), each at a multiple of 64 bytes. What is
/// trained comes first, sorted by the set of axes that sum its gradients, then in visiting order; then what is frozen. Holes and gaps are
/// 0. Keeps tensor handles only, never pointers into a module.
class ParameterList {
 public:
  struct Entry {
    std::string name;  // of the physical tensor: its module's path
    Shape shape;
    Numbers numbers = Numbers::real;
    std::vector<NamedPiece> pieces;
    AxisSet replicated;
    bool prepared = false;
    std::int64_t offset = 0;  // numbers into the flat buffers
    std::int64_t size = 0;    // numbers in the flat buffers, without the gap after them
    Tensor value;             // the tape leaf
    bool trainable = true;    // false if all its pieces are frozen
  };
  struct NamedBuffer {
    std::string name;
    Tensor value;
  };

  const std::vector<Entry>& entries() const { return entries_; }  // ascending offsets
  const std::vector<NamedBuffer>& buffers() const { return buffers_; }
  const Tensor& values() const { return values_; }        // (n,)
  const Tensor& gradients() const { return gradients_; }  // (m,): the trained first m elements; undefined when not training
  const Tensor& rounded() const { return rounded_; }      // (n,): the values in bf16; undefined unless materialized so
  /// Brings rounded() up to date where it exists. Whoever writes values calls it; the optimiser keeps it up to date by itself.
  void round_values() const;
  /// All named pieces in the order of the reference's state dict: visiting order, and Piece::place.
  const std::vector<NamedPiece>& pieces() const { return pieces_; }
  void zero_gradients() const;
  /// The same without a pass over memory: the first gradient that a parameter gets overwrites what is there, and complete_gradients()
  /// writes zeros where none came. Between the two gradients() is to be read only of parameters that are final.
  void start_gradients() const;
  void complete_gradients() const;

 private:
  friend class Materializer;
  std::vector<Entry> entries_;
  std::vector<NamedPiece> pieces_;
  std::vector<NamedBuffer> buffers_;
  Tensor values_, gradients_, rounded_;
};

enum class Use { inference, training };
using Visit = std::function<void(const ParameterVisitor&)>;

/// Gives every parameter that `visit` reaches its memory in `dtype` (bf16: in f32, with rounded copies), on the device, and its initial
/// values from `key` (by global element and name); without a key they are 0, for a caller who reads them from a file. For training they
/// become tape leaves; pieces that match a pattern of `frozen` ("encoder.*") are not trained. Throws ConfigError for a pattern that matches
/// nothing.
ParameterList materialize(const Visit& visit, DType dtype, Use use, std::optional<RandomKey> key,
                          const std::vector<std::string>& frozen = {}, Device device = {});

/// Writes a piece's initial values: each from its global index and the stream of its name.
void initialize(const NamedPiece& piece, RandomKey key);

/// What a reference's state dict lists.
struct Described {
  std::string name;
  Shape shape;  // full
  Numbers numbers = Numbers::real;
};
/// Every named piece, without memory, in the order of ParameterList::pieces(); buffers after.
std::vector<Described> describe(const Visit& visit);

}  // namespace trident
