#include "checkpoint/joint_factorization.h"

#include <algorithm>
#include <complex>
#include <string_view>

#include "runtime/error.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

constexpr std::string_view kPrefix = "fno_blocks.convs.weight.";

/// The parts of a joint factorisation: the layers' factor comes first.
struct Joint {
  const StoredTensor* tensor = nullptr;   // dense
  const StoredTensor* core = nullptr;     // tucker
  const StoredTensor* weights = nullptr;  // cp
  std::vector<const StoredTensor*> factors;

  bool is_there() const { return tensor != nullptr || !factors.empty(); }
};

bool belongs_to_joint(const StoredTensor& stored) {
  if (!stored.name.starts_with(kPrefix)) return false;
  const std::string_view rest = std::string_view(stored.name).substr(kPrefix.size());
  return rest == "tensor" || rest == "core" || rest == "weights" || rest.starts_with("factors.factor_");
}

Joint find_joint(const std::vector<StoredTensor>& tensors) {
  Joint joint;
  for (const StoredTensor& stored : tensors) {
    if (!belongs_to_joint(stored)) continue;
    const std::string_view rest = std::string_view(stored.name).substr(kPrefix.size());
    if (rest == "tensor") joint.tensor = &stored;
    if (rest == "core") joint.core = &stored;
    if (rest == "weights") joint.weights = &stored;
    if (rest.starts_with("factors.")) joint.factors.push_back(&stored);
  }
  std::ranges::sort(joint.factors, {}, [](const StoredTensor* factor) { return std::pair(factor->name.size(), factor->name); });
  return joint;
}

[[noreturn]] void reject(const StoredTensor& stored, const char* what) {
  throw CheckpointError(concat("\"", stored.name, "\" ", to_string(stored.shape), ": is no part of a joint factorisation of all layers: ",
                               what, "; give a checkpoint of neuraloperator 0.3.0"));
}

using Numbers = std::vector<std::complex<double>>;

/// Stored real with a last dimension of 2, or complex already.
struct ComplexArray {
  Shape shape;
  Numbers values;
};

ComplexArray load(const StoredTensor& stored) {
  const Tensor x = packed(stored.load());
  ComplexArray array{x.shape(), {}};
  if (is_complex(x.dtype())) {
    if (x.dtype() == DType::c64) {
      for (const c64 value : to_host<c64>(x)) array.values.emplace_back(value);
    } else {
      array.values = to_host<c128>(x);
    }
    return array;
  }
  if (x.rank() == 0 || x.size(-1) != 2) reject(stored, "its numbers are not complex");
  const Tensor wide = empty(x.shape(), DType::f64);
  copy_into(wide, x);
  const auto* parts = reinterpret_cast<const std::complex<double>*>(wide.data<double>());
  array.values.assign(parts, parts + x.numel() / 2);
  array.shape = {};
  for (int dim = 0; dim + 1 < x.rank(); ++dim) array.shape.push_back(x.size(dim));
  return array;
}

DType complex_type(const StoredTensor& stored) {
  return stored.dtype == DType::f64 || stored.dtype == DType::c128 ? DType::c128 : DType::c64;
}

/// sum over r of row[r] x[r, ...].
ComplexArray contracted(std::span<const std::complex<double>> row, const ComplexArray& x) {
  ComplexArray result;
  for (int dim = 1; dim < x.shape.rank(); ++dim) result.shape.push_back(x.shape[dim]);
  const std::size_t size = x.values.size() / row.size();
  result.values.assign(size, 0.0);
  for (std::size_t r = 0; r < row.size(); ++r) {
    for (std::size_t i = 0; i < size; ++i) result.values[i] += row[r] * x.values[r * size + i];
  }
  return result;
}

class Splitter {
 public:
  explicit Splitter(const Joint& joint) : joint_(joint) {
    const StoredTensor& first = joint.tensor != nullptr ? *joint.tensor : *joint.factors.front();
    layer_factor_ = load(first);
    const Shape& shape = layer_factor_.shape;
    const bool is_train = joint.tensor == nullptr && joint.core == nullptr && joint.weights == nullptr;
    if (joint.tensor == nullptr && (shape.rank() != (is_train ? 3 : 2) || joint.factors.size() < 2))
      reject(first, "it is no factor of layers");
    layers_ = shape[is_train ? 1 : 0];
    rank_ = layers_ == 0 ? 0 : static_cast<std::int64_t>(layer_factor_.values.size()) / layers_;
  }

  std::vector<StoredTensor> split() {
    if (joint_.tensor != nullptr) {
      for (std::int64_t layer = 0; layer < layers_; ++layer) add(layer, "tensor", rows(layer), *joint_.tensor);
      return std::move(result_);
    }
    const StoredTensor& next = joint_.core != nullptr ? *joint_.core : joint_.weights != nullptr ? *joint_.weights : *joint_.factors[1];
    const ComplexArray array = load(next);
    if (array.shape.rank() == 0 || array.shape[0] != rank_) reject(next, "its first extent is not the rank of the layers' factor");
    for (std::int64_t layer = 0; layer < layers_; ++layer) {
      const ComplexArray row = rows(layer);
      if (joint_.core != nullptr) {
        add(layer, "core", contracted(row.values, array), next);
      } else if (joint_.weights != nullptr) {
        ComplexArray weights = array;
        for (std::size_t r = 0; r < weights.values.size(); ++r) weights.values[r] *= row.values[r];
        add(layer, "weights", weights, next);
      } else {
        ComplexArray factor = contracted(row.values, array);
        factor.shape = {1, array.shape[1], array.shape[2]};
        add(layer, "factors.factor_0", factor, next);
      }
      const bool is_train = joint_.core == nullptr && joint_.weights == nullptr;
      for (std::size_t k = is_train ? 2 : 1; k < joint_.factors.size(); ++k) {
        add(layer, concat("factors.factor_", k - 1), load(*joint_.factors[k]), *joint_.factors[k]);
      }
    }
    return std::move(result_);
  }

 private:
  /// What belongs to one layer of the first tensor.
  ComplexArray rows(std::int64_t layer) const {
    ComplexArray row;
    const auto begin = layer_factor_.values.begin() + layer * rank_;
    row.values.assign(begin, begin + rank_);
    for (int dim = 1; dim < layer_factor_.shape.rank(); ++dim) row.shape.push_back(layer_factor_.shape[dim]);
    return row;
  }

  void add(std::int64_t layer, const std::string& name, const ComplexArray& array, const StoredTensor& from) {
    const Tensor tensor = from_values<c128>(array.shape, array.values);  // whoever takes it rounds it
    result_.push_back(
        {concat("fno_blocks.convs.", layer, ".weight.", name), from.type, complex_type(from), array.shape, [tensor] { return tensor; }});
  }

  const Joint& joint_;
  ComplexArray layer_factor_;
  std::int64_t layers_ = 0, rank_ = 0;
  std::vector<StoredTensor> result_;
};

}  // namespace

std::vector<StoredTensor> take_joint_factorization(std::vector<StoredTensor>& tensors) {
  const Joint joint = find_joint(tensors);
  if (!joint.is_there()) return {};
  std::vector<StoredTensor> result = Splitter(joint).split();
  std::erase_if(tensors, belongs_to_joint);
  return result;
}

ConfigValue rank_of_joint_factorization(const std::vector<StoredTensor>& tensors) {
  const Joint joint = find_joint(tensors);
  if (!joint.is_there() || joint.tensor != nullptr) return {};
  if (joint.weights != nullptr) return joint.weights->shape[0];
  ConfigValue ranks = ConfigValue::list();
  if (joint.core != nullptr) {
    const Shape shape = load(*joint.core).shape;
    for (int dim = 1; dim < shape.rank(); ++dim) ranks.append(shape[dim]);
    return ranks;
  }
  ranks.append(1);
  for (std::size_t k = 1; k < joint.factors.size(); ++k) ranks.append(load(*joint.factors[k]).shape[2]);
  return ranks;
}

}  // namespace trident
