/// How modules are written: a plain struct with a static `visit` that names its children in the order of the reference's state dict, and a
/// const call operator. No base class, no registration, no caches in the call.
#pragma once

#include <string>
#include <type_traits>
#include <vector>

#include "parallel/parameter.h"
#include "runtime/tensor/stream_key.h"

namespace trident {

enum class Mode { train, eval };
/// What the forward keeps for the backward: everything it needs, or the inputs of blocks, which then run again.
enum class Recompute { none, blocks };

/// What the ranks of the tensor axis hold of the tokens between the products of a block: all of them alike, or a share each (sequence
/// parallelism: less memory, the same bytes sent).
enum class TokensBetween { alike, shared };

/// Where a model computes, and in which numbers; fields come from the host and go back to it.
struct Computing {
  DType precision = DType::f32;
  Device device{};
  Computing(DType precision_of, Device on = {}) : precision(precision_of), device(on) {}  // NOLINT: numbers alone mean on the host
};
/// The number type of fields, parameters and losses of a model that computes in `precision`: bf16 is for what lies between.
inline DType parameter_type(DType precision) { return precision == DType::bf16 ? DType::f32 : precision; }

/// What a call needs besides its inputs; passed by value.
struct Pass {
  Mode mode = Mode::eval;
  StreamKey key;                  // of this step; call sites fold their names in
  std::int64_t first_sample = 0;  // global index of the batch's first sample, for random numbers
  DType precision = DType::f32;
  Recompute recompute = Recompute::none;
  TokensBetween tokens = TokensBetween::alike;

  Pass fold(std::uint64_t site) const {
    Pass result = *this;
    result.key = key.fold(site);
    return result;
  }
};

/// Walks modules: v("name", child) extends the dotted name for parameters, buffers, modules, and vectors of modules ("name.0", ...).
class Walk {
 public:
  Walk(const ParameterVisitor& visitor, std::string path) : visitor_(visitor), path_(std::move(path)) {}

  template <class Child>
  void operator()(const std::string& name, Child& child) const {
    const std::string path = name.empty() ? path_ : path_.empty() ? name : path_ + "." + name;
    if constexpr (std::is_same_v<Child, Parameter>) {
      visitor_.parameter(path, child);
    } else if constexpr (std::is_same_v<Child, Buffer>) {
      visitor_.buffer(path, child);
    } else if constexpr (requires { child.begin(); }) {
      std::size_t index = 0;
      for (auto& element : child) Walk(visitor_, path)(std::to_string(index++), element);
    } else {
      const Walk inside(visitor_, path);
      Child::visit(child, inside);
    }
  }

 private:
  const ParameterVisitor& visitor_;
  std::string path_;
};

template <class Module>
void walk(Module& module, const ParameterVisitor& visitor) {
  Walk(visitor, "")("", module);
}

}  // namespace trident
