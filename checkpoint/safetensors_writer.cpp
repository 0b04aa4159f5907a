#include "checkpoint/safetensors_writer.h"

#include <algorithm>
#include <bit>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "checkpoint/atomic_file.h"
#include "checkpoint/complex_parts.h"
#include "checkpoint/safetensors_types.h"
#include "runtime/error.h"
#include "runtime/tensor/copy.h"

namespace trident {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors files are little-endian");

std::string_view type_name(DType dtype) {
  return std::find_if(kSafetensorsTypes.begin(), kSafetensorsTypes.end(), [&](const auto& type) { return type.dtype == dtype; })->name;
}

}  // namespace

std::vector<LateTensor> late(const std::vector<NamedTensor>& tensors) {
  std::vector<LateTensor> result;
  for (const auto& [name, tensor] : tensors) result.push_back({name, tensor.dtype(), tensor.shape(), [tensor] { return tensor; }});
  return result;
}

std::vector<LateTensor> in_file_order(std::vector<LateTensor> tensors) {
  for (LateTensor& tensor : tensors) {
    if (tensor.dtype != DType::c128) continue;
    tensor.name += kComplexEnding;
    tensor.dtype = DType::f64;
    tensor.shape.push_back(2);
    tensor.make = [make = tensor.make] {
      const Tensor made = make();
      return made.defined() ? parts_of_complex(made) : made;
    };
  }
  std::stable_sort(tensors.begin(), tensors.end(),
                   [](const LateTensor& a, const LateTensor& b) { return size_of(a.dtype) > size_of(b.dtype); });
  return tensors;
}

/// The header is the length and the JSON, padded to 8 bytes as the format's own writer does.
SafetensorsLayout safetensors_layout(const std::filesystem::path& path, const std::vector<LateTensor>& tensors,
                                     const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::unordered_set<std::string> names;
  SafetensorsLayout layout;
  for (const auto& entry : tensors) {
    const auto bytes = static_cast<std::uint64_t>(numel(entry.shape)) * size_of(entry.dtype);
    if (entry.name == "__metadata__" || !names.insert(entry.name).second) {
      throw CheckpointError(concat(path.string(), ": two tensors are named \"", entry.name, "\"; names must be unique"));
    }
    header[entry.name] = {{"dtype", type_name(entry.dtype)},
                          {"shape", std::vector<std::int64_t>(entry.shape.begin(), entry.shape.end())},
                          {"data_offsets", {layout.bytes, layout.bytes + bytes}}};
    layout.offsets.push_back(layout.bytes);
    layout.bytes += bytes;
  }
  std::string json = header.dump();
  json.resize((json.size() + 7) / 8 * 8, ' ');
  const std::uint64_t length = json.size();
  layout.header = std::string(reinterpret_cast<const char*>(&length), sizeof length) + json;
  for (std::uint64_t& offset : layout.offsets) offset += layout.header.size();
  layout.bytes += layout.header.size();
  return layout;
}

void write_safetensors(const std::filesystem::path& path, const std::vector<LateTensor>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  const std::vector<LateTensor> ordered = in_file_order(tensors);
  const SafetensorsLayout layout = safetensors_layout(path, ordered, metadata);
  AtomicFile file(path);
  file.write(layout.header);
  for (const LateTensor& entry : ordered) {
    const Tensor values = packed(entry.make());
    file.write(values.bytes(), static_cast<std::size_t>(values.num_bytes()));
  }
  file.commit();
}

void write_safetensors(const std::filesystem::path& path, const std::vector<NamedTensor>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  write_safetensors(path, late(tensors), metadata);
}

}  // namespace trident
