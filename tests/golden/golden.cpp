#include "tests/golden/golden.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <limits>

#include "runtime/error.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"

namespace trident::golden {

Row failed(const std::string& name, const std::string& why) {
  return {.name = name, .error = std::numeric_limits<double>::infinity(), .bound = 0.0, .note = why};
}

double f32_bound(double reference_distance) { return std::max(1e-6, 3.0 * reference_distance); }

double f32_curve_bound(double reference_distance, const std::string& quantity, double p) {
  const double bound = f32_bound(reference_distance);
  if (p != 1.0 || quantity == "learning_rate") return bound;
  return std::max(bound, quantity == "grad_norm" ? 3e-3 : quantity == "validation" ? 1e-4 : 1e-5);
}

double loss_exponent(const Folder& folder) {
  const ConfigValue config = folder.json("config.json");
  const ConfigValue* p = config.find("p");
  return p == nullptr ? 1.0 : p->as_number();
}

Folder::Folder(std::filesystem::path path) : path_(std::move(path)) {
  if (has("tensors.safetensors")) tensors_.emplace(path_ / "tensors.safetensors");
}

ConfigValue Folder::json(const std::string& file) const {
  const std::filesystem::path full = path_ / file;
  std::ifstream stream(full);
  if (!stream) throw DataError(concat(full.string(), ": cannot be read; the case is not complete"));
  const std::string text{std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
  return parse_json(text, full.string());
}

Tensor Folder::take(const std::string& name) {
  if (!tensors_ || tensors_->find(name) == nullptr) return {};
  taken_.insert(name);
  return tensors_->tensor(name);
}

std::vector<std::string> Folder::names_with(const std::string& prefix) const {
  std::vector<std::string> names;
  if (!tensors_) return names;
  for (const SafetensorsEntry& entry : tensors_->entries()) {
    if (entry.name.starts_with(prefix)) names.push_back(entry.name.substr(prefix.size()));
  }
  return names;
}

Rows Folder::unused() const {
  Rows rows;
  if (!tensors_) return rows;
  for (const SafetensorsEntry& entry : tensors_->entries()) {
    if (!taken_.contains(entry.name)) rows.push_back(failed(entry.name, "no check knows this tensor"));
  }
  return rows;
}

std::vector<double> numbers(const Tensor& x) {
  const Tensor wide = empty(x.shape(), DType::f64);
  copy_into(wide, x);
  return to_host<double>(wide);
}

double norm(const std::vector<double>& x) {
  double sum = 0.0;
  for (const double value : x) sum += value * value;
  return std::sqrt(sum);
}

double relative_error(const std::vector<double>& actual, const std::vector<double>& expected) {
  if (actual.size() != expected.size()) return std::numeric_limits<double>::infinity();
  std::vector<double> difference(actual.size());
  for (std::size_t i = 0; i < actual.size(); ++i) difference[i] = actual[i] - expected[i];
  const double scale = norm(expected);
  return norm(difference) / (scale > 0.0 ? scale : 1.0);
}

double relative_error(const Tensor& actual, const Tensor& expected) { return relative_error(numbers(actual), numbers(expected)); }

std::filesystem::path find_data(const std::string& name, const Folder& folder, const Options& options) {
  for (const std::filesystem::path& place :
       {folder.path(), folder.path() / "..", folder.path() / ".." / "..", options.data, std::filesystem::path(TRIDENT_GOLDEN_DATA)}) {
    if (place.empty()) continue;
    for (const std::filesystem::path& candidate : {place / name, place / std::filesystem::path(name).filename()}) {
      if (std::filesystem::exists(candidate)) return candidate;
    }
  }
  throw DataError(concat(folder.path().string(), ": data file \"", name, "\" is not there; give its folder by --data"));
}

Rows unknown_keys(const ConfigValue& document, const std::set<std::string>& known) {
  Rows rows;
  for (const auto& [key, value] : document.entries()) {
    if (!known.contains(key)) rows.push_back(failed(key, "no check knows this key of case.json"));
  }
  return rows;
}

}  // namespace trident::golden
