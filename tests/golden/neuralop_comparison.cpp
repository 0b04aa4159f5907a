#include "tests/golden/neuralop_comparison.h"

#include <algorithm>
#include <cmath>

#include "runtime/error.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"

namespace trident::golden {
namespace {

constexpr const char* kComplex = "::complex";

}  // namespace

bool is_neuralop(const Folder& folder, const std::string& kind) {
  if (!folder.has("case.json")) return false;
  const ConfigValue document = folder.json("case.json");
  const ConfigValue* found = document.kind() == ConfigValue::Kind::map ? document.find("kind") : nullptr;
  return found != nullptr && found->kind() == ConfigValue::Kind::string && found->as_string() == kind;
}

std::vector<double> flat(const Tensor& x) {
  if (is_floating(x.dtype())) return numbers(x);
  const Tensor in = packed(x);
  const DType real = x.dtype() == DType::c64 ? DType::f32 : DType::f64;
  return numbers(Tensor(in.storage(), 2 * in.offset(), {2 * in.numel()}, {1}, real));
}

Comparison::Comparison(Folder& folder) : folder_(folder) {
  if (folder.has("tensors_f64.safetensors")) wide_.emplace(folder.path() / "tensors_f64.safetensors");
}

bool Comparison::has(const std::string& name) const {
  const auto in = [&](const std::optional<SafetensorsReader>& file) {
    return file && (file->find(name) != nullptr || file->find(name + kComplex) != nullptr);
  };
  return in(folder_.tensors()) || in(wide_);
}

Tensor Comparison::given(const std::string& name) {
  const Tensor real = folder_.take(name);
  return real.defined() ? real : folder_.take(name + kComplex);
}

std::optional<std::vector<double>> Comparison::recorded(const std::string& name, DType dtype) {
  for (const std::string& full : {name, name + kComplex}) {
    if (dtype == DType::f32) {
      if (const Tensor found = folder_.take(full); found.defined()) return numbers(found);
    } else if (wide_ && wide_->find(full) != nullptr) {
      taken_.insert(full);
      return numbers(wide_->tensor(full));
    }
  }
  return std::nullopt;
}

void Comparison::add(const std::string& quantity, const std::string& name, DType dtype, double error, double distance) {
  compared_.push_back({quantity, name, dtype, error});
  distances_[quantity] = std::max(distances_[quantity], distance);
}

void Comparison::check(const std::string& quantity, const std::string& name, DType dtype, const Tensor& actual) {
  if (!actual.defined()) return fail(name, "the check has no such result");
  check(quantity, name, dtype, flat(actual));
}

void Comparison::check(const std::string& quantity, const std::string& name, DType dtype, const std::vector<double>& actual) {
  const auto narrow = recorded(name, DType::f32), wide = recorded(name, DType::f64);
  if (!narrow && !wide) return fail(name, "the case has no such tensor");
  add(quantity, name, dtype, relative_error(actual, wide ? *wide : *narrow), narrow && wide ? relative_error(*narrow, *wide) : 0.0);
}

void Comparison::check_number(const std::string& quantity, const std::string& name, DType dtype, double actual, double f64,
                              std::optional<double> f32) {
  add(quantity, name, dtype, relative_error({actual}, {f64}), f32 ? relative_error({*f32}, {f64}) : 0.0);
}

void Comparison::check_all(const std::string& prefix, DType dtype, const std::map<std::string, std::vector<double>>& actual,
                           const std::set<std::string>& zero) {
  std::vector<double> all, all_narrow, all_wide;
  for (const auto& [name, values] : actual) {
    const auto narrow = recorded(prefix + "/" + name, DType::f32), wide = recorded(prefix + "/" + name, DType::f64);
    if (zero.contains(name)) continue;
    if (!wide || !narrow) {
      fail(prefix + "/" + name, "the case has it not in both number types");
      continue;
    }
    add("each " + prefix, prefix + "/" + name, dtype, relative_error(values, *wide), relative_error(*narrow, *wide));
    all.insert(all.end(), values.begin(), values.end());
    all_narrow.insert(all_narrow.end(), narrow->begin(), narrow->end());
    all_wide.insert(all_wide.end(), wide->begin(), wide->end());
  }
  add("all " + prefix, "all " + prefix, dtype, relative_error(all, all_wide), relative_error(all_narrow, all_wide));
}

Rows Comparison::rows() const {
  Rows rows = failures_;
  for (const Compared& row : compared_) {
    const double bound = row.dtype == DType::f64 ? kF64Bound : f32_bound(distances_.at(row.quantity));
    rows.push_back({.name = concat(name_of(row.dtype), " ", row.name), .error = row.error, .bound = bound});
  }
  if (!wide_) return rows;
  for (const SafetensorsEntry& entry : wide_->entries()) {
    if (!taken_.contains(entry.name)) rows.push_back(failed(entry.name + " (f64)", "no check knows this tensor"));
  }
  return rows;
}

}  // namespace trident::golden
