/// Tables of rules that turn one file format's names of tensors into another's, in either direction.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace trident {

/// What besides the name differs between a tensor of theirs and ours.
enum class TensorChange {
  none,
  pointwise,  // theirs is a convolution over d dimensions of one point, (out, in, 1, ...); ours always over one, (out, in, 1)
  complex,    // theirs may be real with a last dimension of 2 (re, im); ours is complex
  per_layer,  // theirs is one tensor of all layers (layer, ...); ours one for each, whose number stands for `#`
};

/// Patterns: `*` is one part of a dotted name, `**` the rest, `#` the number of a layer; the k-th wildcard of one is the k-th of the other.
struct NameRule {
  std::string_view theirs, ours;
  TensorChange change;
};

/// What the wildcards of `pattern` stand for, or nothing if the name does not fit.
std::optional<std::vector<std::string>> match_name(std::string_view pattern, std::string_view name);
/// The pattern with its wildcards replaced, in order.
std::string fill_name(std::string_view pattern, std::span<const std::string> parts);

}  // namespace trident
