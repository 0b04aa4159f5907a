#include "tests/golden/hashed_weights.h"

#include <cmath>
#include <cstdint>

namespace trident::golden {
namespace {

struct Range {
  double offset, scale;
};

bool is_norm_weight(const std::string& name) {
  const std::size_t dot = name.rfind('.');
  const std::string module = dot == std::string::npos ? "" : name.substr(0, dot);
  const std::string last = module.substr(module.rfind('.') + 1);
  return name.ends_with(".weight") && (last.find("norm") != std::string::npos || last.starts_with("bn"));
}

Range range_of(const std::string& name, const Shape& shape) {
  const bool vector = shape.rank() == 1;
  if (name.ends_with("logit_scale")) return {std::log(10.0), 1.0};
  if (name.ends_with(".weight.bias")) return {1.0, 0.1};
  if (vector && is_norm_weight(name)) return {1.0, 0.1};
  if (vector && name.starts_with("residual_blocks.") && name.ends_with(".weight")) return {0.0, 0.5};
  if (name.ends_with("running_var")) return {1.0, 0.5};
  if (shape.rank() >= 2) return {0.0, 1.0 / std::sqrt(static_cast<double>(numel(shape) / shape[0]))};
  return {0.0, 0.1};
}

}  // namespace

std::vector<float> hashed_weights(const std::string& name, const Shape& shape) {
  std::uint64_t hash = 0xCBF29CE484222325U;  // FNV-1a 64
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3U;
  const Range range = range_of(name, shape);
  const auto offset = static_cast<float>(range.offset), scale = static_cast<float>(range.scale);
  std::vector<float> weights(static_cast<std::size_t>(numel(shape)));
  for (std::size_t i = 0; i < weights.size(); ++i) {
    std::uint64_t x = hash + i + 0x9E3779B97F4A7C15U;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9U;
    x = (x ^ x >> 27) * 0x94D049BB133111EBU;
    x = x ^ x >> 31;
    const double u = static_cast<double>(x >> 40) / 8388608.0 - 1.0;
    const auto scaled = static_cast<float>(static_cast<double>(scale) * u);  // rounded before the sum: a fused multiply-add would not be
    weights[i] = static_cast<float>(static_cast<double>(offset) + static_cast<double>(scaled));
  }
  return weights;
}

}  // namespace trident::golden
