#include "tests/golden/neuralop.h"

#include <algorithm>
#include <cmath>

#include "checkpoint/box.h"
#include "checkpoint/gathered_tensor.h"
#include "models/losses.h"
#include "models/norm_loss.h"
#include "parallel/optimizer.h"
#include "runtime/ops/complex.h"
#include "runtime/ops/elementwise.h"
#include "runtime/ops/reduce.h"
#include "runtime/ops/shape.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"

namespace trident::golden {
namespace {

constexpr const char* kComplex = "::complex";

}  // namespace

bool is_neuralop(const Folder& folder, const std::string& kind) {
  if (!folder.has("case.json")) return false;
  const ConfigValue document = folder.json("case.json");
  const ConfigValue* own = document.kind() == ConfigValue::Kind::map ? document.find("kind") : nullptr;
  return own != nullptr && own->kind() == ConfigValue::Kind::string && own->as_string() == kind;
}

Tensor as_reals(const Tensor& x) { return is_complex(x.dtype()) ? view::as_real(x) : x; }

std::vector<double> all_numbers(const Tensor& x) { return numbers(as_reals(x)); }

Tensor in_precision(const Tensor& x, DType dtype, Device device) {
  if (!x.defined()) return {};
  const DType target = !is_complex(x.dtype()) ? dtype : dtype == DType::f64 ? DType::c128 : DType::c64;
  const Tensor result = empty(x.shape(), target, device);
  copy_into(as_reals(result), as_reals(x));
  return result;
}

NumberFile::NumberFile(const std::filesystem::path& path) : reader_(path) {
  for (const SafetensorsEntry& entry : reader_.entries()) {
    const bool complex = entry.name.ends_with(kComplex);
    names_.push_back(complex ? entry.name.substr(0, entry.name.size() - std::string(kComplex).size()) : entry.name);
  }
}

Tensor NumberFile::find(const std::string& name) const {
  if (reader_.find(name) != nullptr) return reader_.tensor(name);
  if (reader_.find(name + kComplex) != nullptr) return view::as_complex(reader_.tensor(name + kComplex));
  return {};
}

NeuralopCase::NeuralopCase(Folder& folder)
    : folder_(folder), document_(folder.json("case.json")), narrow_(folder.path() / "tensors.safetensors") {
  if (folder.has("tensors_f64.safetensors")) wide_.emplace(folder.path() / "tensors_f64.safetensors");
}

Tensor NeuralopCase::given(const std::string& name) {
  for (const char* suffix : {"", kComplex}) folder_.take(name + suffix);
  taken_.push_back(name);
  return narrow_.find(name);
}

Tensor NeuralopCase::expected(const std::string& name) {
  const Tensor narrow = given(name), wide = wide_ ? wide_->find(name) : Tensor{};
  return wide.defined() ? wide : narrow;
}

std::vector<std::string> NeuralopCase::names_with(const std::string& prefix) const {
  std::vector<std::string> names;
  for (const NumberFile* file : {&narrow_, wide_ ? &*wide_ : nullptr}) {
    if (file == nullptr) continue;
    for (const std::string& name : file->names()) {
      if (name.starts_with(prefix) && std::ranges::find(names, name) == names.end()) names.push_back(name);
    }
  }
  return names;
}

double NeuralopCase::distance(const std::string& name) {
  const Tensor narrow = given(name), wide = wide_ ? wide_->find(name) : Tensor{};
  return narrow.defined() && wide.defined() ? relative_error(all_numbers(narrow), all_numbers(wide)) : 0.0;
}

void NeuralopCase::compare(Rows& rows, DType dtype, const std::string& name, const std::vector<double>& actual, double class_distance) {
  const Tensor wanted = expected(name);
  const std::string title = concat(name_of(dtype), " ", name);
  if (!wanted.defined()) return rows.push_back(failed(title, "was not recorded"));
  rows.push_back({title, relative_error(actual, all_numbers(wanted)), dtype == DType::f64 ? kF64Bound : f32_bound(class_distance)});
}

void NeuralopCase::compare_gradients(Rows& rows, DType dtype, const std::string& prefix, const NumbersByName& actual,
                                     const std::vector<std::string>& zero) {
  std::vector<double> all_actual, all_wide, all_narrow;
  double worst = 0.0;
  const auto append = [](std::vector<double>& all, const std::vector<double>& own) { all.insert(all.end(), own.begin(), own.end()); };
  std::vector<std::string> counted;
  for (const auto& [name, gradient] : actual) {
    const std::string full = prefix + name;
    const Tensor narrow = given(full), wide = expected(full);
    if (std::ranges::find(zero, full) != zero.end()) continue;
    if (!wide.defined()) {
      rows.push_back(failed(full, "was not recorded"));
      continue;
    }
    counted.push_back(name);
    worst = std::max(worst, distance(full));
    append(all_actual, gradient), append(all_wide, all_numbers(wide)), append(all_narrow, all_numbers(narrow.defined() ? narrow : wide));
  }
  for (const std::string& name : counted) compare(rows, dtype, prefix + name, actual.at(name), worst);
  if (counted.empty()) return;
  rows.push_back({concat(name_of(dtype), " ", prefix, " all gradients"), relative_error(all_actual, all_wide),
                  dtype == DType::f64 ? kF64Bound : f32_bound(relative_error(all_narrow, all_wide))});
}

/// A running mean may nearly cancel: rounding is of the size of what it is the mean of, whose deviation stands beside it.
double NeuralopCase::error_of_state(const std::string& name, const std::vector<double>& actual) {
  const std::vector<double> wanted = all_numbers(expected("after/" + name));
  const double error = relative_error(actual, wanted);
  if (!name.ends_with("running_mean")) return error;
  double variances = 0.0;
  for (const double variance : all_numbers(expected("after/" + name.substr(0, name.size() - 4) + "var"))) variances += variance;
  return error * norm(wanted) / std::sqrt(norm(wanted) * norm(wanted) + variances);
}

void NeuralopCase::compare_state(Rows& rows, DType dtype, const ParameterList& parameters) {
  for (const auto& buffer : parameters.buffers()) {
    const Tensor wanted = expected("after/" + buffer.name);
    if (!wanted.defined()) continue;
    const bool exact = dtype == DType::f64 && wanted.dtype() == DType::f64;
    rows.push_back(
        {concat(name_of(dtype), " after/", buffer.name), error_of_state(buffer.name, all_numbers(buffer.value)), exact ? kF64Bound : 1e-6});
  }
}

Rows NeuralopCase::unused() const {
  Rows rows;
  if (!wide_) return rows;
  for (const std::string& name : wide_->names()) {
    if (std::ranges::find(taken_, name) == taken_.end()) rows.push_back(failed(name + " (f64)", "no check knows this tensor"));
  }
  return rows;
}

ConfigValue config_of(const ConfigValue& arguments, const std::string& kind) {
  ConfigValue config = ConfigValue::map({{"type", kind == "TFNO" ? "tfno" : "fno"}});
  for (const auto& [key, value] : arguments.entries()) config.set(key, value);
  return config;
}

Model model_of(const ConfigValue& arguments, const std::string& kind, const Mesh& mesh) {
  return describe_model(config_of(arguments, kind), mesh);
}

Rows load_weights(const ParameterList& parameters, const NumberFile& weights) {
  Rows rows;
  std::vector<std::string> used;
  const auto load = [&](const std::string& name, const Tensor& value, const Shape& shape, const Box& owned) {
    const Tensor stored = weights.find(name);
    used.push_back(name);
    if (!stored.defined() || stored.shape() != shape) {
      rows.push_back(failed(name, stored.defined() ? concat("has shape ", to_string(stored.shape()), ", the model's has ", to_string(shape))
                                                   : "the file has no such weight"));
      return;
    }
    const Tensor own = packed(part_of_box(packed(stored), whole_box(shape), owned));
    copy_into(as_reals(value), as_reals(view::reshape(own, value.shape())));
  };
  for (const NamedPiece& piece : parameters.pieces()) load(piece.name, piece.value, piece.piece.full_shape, piece.piece.owned);
  for (const auto& buffer : parameters.buffers()) load(buffer.name, buffer.value, buffer.value.shape(), whole_box(buffer.value.shape()));
  parameters.round_values();
  for (const std::string& name : weights.names()) {
    if (std::ranges::find(used, name) == used.end()) rows.push_back(failed(name, "the model has no such weight"));
  }
  return rows;
}

std::vector<std::string> zero_gradients(const ConfigValue& distances) {
  std::vector<std::string> names;
  if (const ConfigValue* zero = distances.find("zero_gradients")) {
    for (const ConfigValue& name : zero->elements()) names.push_back(name.as_string());
  }
  return names;
}

AdamWOptions adamw_of(const ConfigValue& recipe) {
  const auto& betas = recipe.find("betas")->elements();
  const ConfigValue* correct_bias = recipe.find("correct_bias");
  return {.rule = AdamWRule::neuralop,
          .beta1 = betas[0].as_number(),
          .beta2 = betas[1].as_number(),
          .eps = recipe.find("eps")->as_number(),
          .correct_bias = correct_bias == nullptr || correct_bias->as_bool()};
}

NumbersByName pieces_of(const ParameterList& parameters, Tensor NamedPiece::*what, const Mesh& mesh) {
  NumbersByName numbers;
  for (NamedPiece piece : parameters.pieces()) {
    piece.value = piece.*what;
    const Tensor whole = gathered_tensor(piece, mesh);
    if (whole.defined()) numbers[piece.name] = all_numbers(whole);
  }
  return numbers;
}

Tensor share_of_loss(const ConfigValue& description, LossDescription of_model, const Tensor& output, const Tensor& label,
                     const MeshCase& on_mesh) {
  const Mesh& mesh = on_mesh.mesh();
  if (description.find("class")->as_string() == "MeanSquare") {
    const Tensor error =
        is_complex(output.dtype()) ? concatenate({real(output) - real(label), imag(output) - imag(label)}, 0) : output - label;
    // Ranks of the tensor axis compute the same: each has a part of it.
    return affine(sum(error * error), 1.0 / (on_mesh.output_points() * static_cast<double>(output.size(1)) * mesh.size(Axis::tensor)));
  }
  of_model.norm = norm_loss_of(description);
  const Loss loss(of_model, static_cast<int>(output.size(1)), LossScope::global, mesh);
  const Fields fields = on_mesh.fields({}, {}, {}, label);
  try {
    return loss.share(output, fields, loss.totals({&fields, 1}));
  } catch (const ConfigError& error) {  // one-sided differences that the ranks' rectangles are too small for: on all ranks
    if (mesh.world().size() > 1) throw OnOneRank{error.what()};
    throw;
  }
}

}  // namespace trident::golden
