#include "checkpoint/neuralop_names.h"

#include <algorithm>
#include <array>
#include <map>

#include "checkpoint/complex_parts.h"
#include "checkpoint/joint_factorization.h"
#include "checkpoint/name_rules.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"

namespace trident {
namespace {

constexpr NameRule kCurrentRules[] = {
    {"fno_blocks.convs.*.weight.**", "fno_blocks.convs.*.weight.**", TensorChange::complex},
    {"**", "**", TensorChange::none},
};

/// Skips that are a matrix are a convolution called `conv` today.
constexpr NameRule kLinearSkip{"fno_blocks.fno_skips.*.weight", "fno_blocks.fno_skips.*.conv.weight", TensorChange::pointwise};
constexpr NameRule kLinearMlpSkip{"fno_blocks.mlp_skips.*.weight", "fno_blocks.channel_mlp_skips.*.conv.weight", TensorChange::pointwise};
constexpr NameRule kMlpSkip{"fno_blocks.mlp_skips.*.weight", "fno_blocks.channel_mlp_skips.*.weight", TensorChange::none};

constexpr NameRule kV03Rules[] = {
    {"fno_blocks.convs.bias", "fno_blocks.convs.#.bias", TensorChange::per_layer},
    {"fno_blocks.convs.weight.#.**", "fno_blocks.convs.#.weight.**", TensorChange::complex},
    {"fno_blocks.mlp.*.fcs.*.*", "fno_blocks.channel_mlp.*.fcs.*.*", TensorChange::pointwise},
    {"lifting.fcs.*.*", "lifting.fcs.*.*", TensorChange::pointwise},
    {"projection.fcs.*.*", "projection.fcs.*.*", TensorChange::pointwise},
    {"**", "**", TensorChange::none},
};

bool is_linear(const ConfigValue& config, const char* key) {
  const ConfigValue* kind = config.find(key);
  return kind != nullptr && kind->kind() == ConfigValue::Kind::string && kind->as_string() == "linear";
}

/// In the order in which they are tried; the last one takes every name.
std::vector<NameRule> rules_of(NeuralopLayout layout, const ConfigValue& config) {
  if (layout == NeuralopLayout::current) return {std::begin(kCurrentRules), std::end(kCurrentRules)};
  std::vector<NameRule> rules;
  if (is_linear(config, "fno_skip")) rules.push_back(kLinearSkip);
  rules.push_back(is_linear(config, "channel_mlp_skip") ? kLinearMlpSkip : kMlpSkip);
  for (const NameRule& rule : kV03Rules) rules.push_back(rule);
  return rules;
}

/// (out, in, 1, ..., 1) -> (out, in, 1); anything else as it is.
Shape pointwise_shape(const Shape& shape) {
  Shape result;
  for (int dim = 0; dim < shape.rank(); ++dim) {
    if (dim > 2 && shape[dim] == 1) continue;
    result.push_back(shape[dim]);
  }
  return result;
}

/// Layer `layer` of (layer, ...).
StoredTensor layer_of(const StoredTensor& tensor, std::int64_t layer, std::string name) {
  StoredTensor part = tensor;
  part.name = std::move(name);
  part.shape = {};
  for (int dim = 1; dim < tensor.shape.rank(); ++dim) part.shape.push_back(tensor.shape[dim]);
  part.load = [load = tensor.load, layer, shape = part.shape] {
    return view::reshape(packed(view::slice(load(), 0, layer, layer + 1)), shape);
  };
  return part;
}

void add_changed(std::vector<StoredTensor>& result, StoredTensor tensor, const NameRule& rule, std::vector<std::string> parts) {
  if (rule.change == TensorChange::per_layer && tensor.shape.rank() > 0) {
    for (std::int64_t layer = 0; layer < tensor.shape[0]; ++layer) {
      result.push_back(layer_of(tensor, layer, fill_name(rule.ours, std::array{std::to_string(layer)})));
    }
    return;
  }
  tensor.name = fill_name(rule.ours, parts);
  if (rule.change == TensorChange::complex && may_be_complex_parts(tensor)) tensor = complex_of_parts(std::move(tensor));
  if (rule.change == TensorChange::pointwise) {
    const Shape shape = pointwise_shape(tensor.shape);
    tensor.load = [load = tensor.load, shape] { return view::reshape(packed(load()), shape); };
    tensor.shape = shape;
  }
  result.push_back(std::move(tensor));
}

/// The tensor with another shape of as many numbers.
LateTensor reshaped(LateTensor tensor, const Shape& shape) {
  tensor.make = [make = tensor.make, shape] { return view::reshape(packed(make()), shape); };
  tensor.shape = shape;
  return tensor;
}

/// (out, in, 1) -> (out, in, 1, ..., 1) of `dims` dimensions; a bias as it is.
LateTensor over_dims(LateTensor tensor, int dims) {
  if (tensor.shape.rank() != 3) return tensor;
  Shape shape{tensor.shape[0], tensor.shape[1]};
  for (int dim = 0; dim < dims; ++dim) shape.push_back(1);
  return reshaped(std::move(tensor), shape);
}

/// Complex numbers as a last dimension of 2.
LateTensor in_parts(LateTensor tensor) {
  if (!is_complex(tensor.dtype)) return tensor;
  tensor.make = [make = tensor.make] { return parts_of_complex(make()); };
  tensor.dtype = tensor.dtype == DType::c128 ? DType::f64 : DType::f32;
  tensor.shape.push_back(2);
  return tensor;
}

/// One tensor of all layers, which are made one after the other.
LateTensor stacked(const std::string& name, const std::vector<LateTensor>& layers) {
  Shape shape{static_cast<std::int64_t>(layers.size())};
  for (const std::int64_t extent : layers.front().shape) shape.push_back(extent);
  const DType dtype = layers.front().dtype;
  return {name, dtype, shape, [layers, shape, dtype] {
            const Tensor result = empty(shape, dtype);
            for (std::size_t layer = 0; layer < layers.size(); ++layer) {
              const Tensor made = layers[layer].make();
              const auto first = static_cast<std::int64_t>(layer);
              copy_into(view::reshape(view::slice(result, 0, first, first + 1), made.shape()), made);
            }
            return result;
          }};
}

}  // namespace

NeuralopLayout neuralop_layout(const std::vector<StoredTensor>& tensors) {
  const bool is_old = std::ranges::any_of(tensors, [](const StoredTensor& tensor) {
    return tensor.name == "fno_blocks.convs.bias" || tensor.name.starts_with("fno_blocks.convs.weight.");
  });
  return is_old ? NeuralopLayout::v0_3 : NeuralopLayout::current;
}

std::vector<StoredTensor> from_neuralop(std::vector<StoredTensor> tensors, NeuralopLayout layout, const ConfigValue& config) {
  const std::vector<NameRule> rules = rules_of(layout, config);
  std::vector<StoredTensor> result;
  if (layout == NeuralopLayout::v0_3) result = take_joint_factorization(tensors);
  for (StoredTensor& tensor : tensors) {
    for (const NameRule& rule : rules) {
      auto parts = match_name(rule.theirs, tensor.name);
      if (!parts) continue;
      add_changed(result, std::move(tensor), rule, std::move(*parts));
      break;
    }
  }
  return result;
}

std::vector<LateTensor> to_neuralop(const std::vector<LateTensor>& tensors, NeuralopLayout layout, const ConfigValue& config) {
  const std::vector<NameRule> rules = rules_of(layout, config);
  const int dims = static_cast<int>(config.find("n_modes")->elements().size());
  std::vector<LateTensor> result;
  std::map<std::string, std::vector<LateTensor>> layers;
  for (const LateTensor& tensor : tensors) {
    for (const NameRule& rule : rules) {
      const auto parts = match_name(rule.ours, tensor.name);
      if (!parts) continue;
      LateTensor theirs = tensor;
      theirs.name = fill_name(rule.theirs, *parts);
      if (rule.change == TensorChange::per_layer) {
        std::vector<LateTensor>& found = layers[theirs.name];
        if (found.empty()) result.push_back({theirs.name, theirs.dtype, {}, {}});  // in the place of the first layer's
        found.push_back(std::move(theirs));
      } else if (rule.change == TensorChange::complex && layout == NeuralopLayout::v0_3) {
        result.push_back(in_parts(std::move(theirs)));
      } else {
        result.push_back(rule.change == TensorChange::pointwise ? over_dims(std::move(theirs), dims) : std::move(theirs));
      }
      break;
    }
  }
  for (LateTensor& tensor : result) {
    if (!tensor.make) tensor = stacked(tensor.name, layers.at(tensor.name));
  }
  return result;
}

}  // namespace trident
