#include "checkpoint/manifest.h"

#include <xxhash.h>

#include <array>
#include <charconv>
#include <unordered_map>
#include <utility>

#include "runtime/error.h"

namespace trident {
namespace {

constexpr std::string_view kFormat = "trident training checkpoint";
constexpr std::int64_t kVersion = 1;
constexpr std::array kDTypes{DType::f32, DType::f64,  DType::bf16, DType::i64, DType::boolean,
                             DType::c64, DType::c128, DType::f16,  DType::i32};

ConfigValue to_config(const Box& box) {
  ConfigValue list = ConfigValue::list();
  for (const Range& range : box) list.append(ConfigValue::list({range.first, range.last}));
  return list;
}

ConfigValue to_config(const ManifestTensor& tensor) {
  ConfigValue shape = ConfigValue::list(), parts = ConfigValue::list();
  for (const std::int64_t extent : tensor.shape) shape.append(extent);
  for (const ManifestPart& part : tensor.parts) {
    parts.append(ConfigValue::map({{"file", part.file}, {"ranges", to_config(part.box)}, {"xxh64", to_hex(part.checksum)}}));
  }
  return ConfigValue::map({{"dtype", std::string(name_of(tensor.dtype))}, {"shape", shape}, {"parts", parts}});
}

const ConfigValue& at(const ConfigValue& map, std::string_view key) {
  const ConfigValue* value = map.find(key);
  if (value == nullptr) throw CheckpointError(concat(map.where(), ": \"", key, "\" is missing"));
  return *value;
}

DType dtype_named(const ConfigValue& value) {
  for (const DType dtype : kDTypes) {
    if (name_of(dtype) == value.as_string()) return dtype;
  }
  throw CheckpointError(concat(value.where(), ": there is no number type \"", value.as_string(), '"'));
}

std::uint64_t from_hex(const ConfigValue& value) {
  const std::string& text = value.as_string();
  std::uint64_t number = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), number, 16);
  if (text.size() != 16 || result.ptr != text.data() + text.size()) {
    throw CheckpointError(concat(value.where(), ": \"", text, "\" is no checksum of 16 hexadecimal digits"));
  }
  return number;
}

ManifestPart parse_part(const ConfigValue& value, const Shape& shape) {
  ManifestPart part{at(value, "file").as_string(), {}, from_hex(at(value, "xxh64"))};
  // The folder may come from elsewhere: its manifest must not lead out of it.
  if (part.file.empty() || part.file.find('/') != std::string::npos) {
    throw CheckpointError(concat(value.where(), ": \"", part.file, "\" is no file of this folder"));
  }
  for (const ConfigValue& range : at(value, "ranges").elements()) {
    const auto& ends = range.elements();
    if (ends.size() != 2) throw CheckpointError(concat(range.where(), ": a range has two ends"));
    part.box.push_back({ends[0].as_integer(), ends[1].as_integer()});
  }
  bool fits = std::cmp_equal(part.box.size(), shape.rank());
  for (int dim = 0; fits && dim < shape.rank(); ++dim) {
    const Range& range = part.box[static_cast<std::size_t>(dim)];
    fits = 0 <= range.first && range.first <= range.last && range.last <= shape[dim];
  }
  if (!fits) throw CheckpointError(concat(value.where(), ": a part does not lie in its tensor ", to_string(shape)));
  return part;
}

ManifestTensor parse_tensor(const std::string& name, const ConfigValue& value) {
  ManifestTensor tensor{name, dtype_named(at(value, "dtype")), {}, {}};
  for (const ConfigValue& extent : at(value, "shape").elements()) {
    if (extent.as_integer() < 0) throw CheckpointError(concat(extent.where(), ": a shape has a negative extent"));
    tensor.shape.push_back(extent.as_integer());
  }
  numel(tensor.shape);  // throws where the product overflows
  for (const ConfigValue& part : at(value, "parts").elements()) tensor.parts.push_back(parse_part(part, tensor.shape));
  return tensor;
}

}  // namespace

std::string to_json(const Manifest& manifest) {
  std::vector<ConfigValue::Entry> tensors;
  for (const ManifestTensor& tensor : manifest.tensors) tensors.emplace_back(tensor.name, to_config(tensor));
  return to_json(ConfigValue::map({{"format", std::string(kFormat)},
                                   {"version", kVersion},
                                   {"state", manifest.state},
                                   {"tensors", ConfigValue::map(std::move(tensors))}}),
                 1);
}

Manifest parse_manifest(std::string_view text, const std::string& file) {
  try {
    const ConfigValue document = parse_json(text, file);
    if (at(document, "format").as_string() != kFormat || at(document, "version").as_integer() != kVersion) {
      throw CheckpointError(concat(document.where(), ": is no manifest of version ", kVersion));
    }
    Manifest manifest;
    manifest.state = at(document, "state");
    for (const auto& [name, tensor] : at(document, "tensors").entries()) manifest.tensors.push_back(parse_tensor(name, tensor));
    return manifest;
  } catch (const Error& error) {
    throw CheckpointError(concat(file, ": no valid manifest of a checkpoint: ", error.what(), "; resume from another checkpoint"));
  }
}

void merge(Manifest& manifest, Manifest other) {
  std::unordered_map<std::string, std::size_t> index;
  for (std::size_t i = 0; i < manifest.tensors.size(); ++i) index[manifest.tensors[i].name] = i;
  for (ManifestTensor& tensor : other.tensors) {
    const auto found = index.find(tensor.name);
    if (found == index.end()) {
      manifest.tensors.push_back(std::move(tensor));
    } else {
      auto& parts = manifest.tensors[found->second].parts;
      parts.insert(parts.end(), tensor.parts.begin(), tensor.parts.end());
    }
  }
}

std::uint64_t checksum_of(const void* data, std::size_t bytes) { return XXH64(data, bytes, 0); }

std::string to_hex(std::uint64_t value) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text(16, '0');
  for (auto digit = text.rbegin(); digit != text.rend(); ++digit, value >>= 4) *digit = kDigits[value & 15];
  return text;
}

}  // namespace trident
