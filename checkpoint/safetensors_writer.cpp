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

/// The length and the JSON of the header, padded to 8 bytes as the format's own writer does.
std::string header_of(const std::filesystem::path& path, const std::vector<NamedTensor>& tensors,
                      const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::unordered_set<std::string> names;
  std::int64_t offset = 0;
  for (const auto& entry : tensors) {
    const Tensor& tensor = entry.tensor;
    if (entry.name == "__metadata__" || !names.insert(entry.name).second) {
      throw CheckpointError(concat(path.string(), ": two tensors are named \"", entry.name, "\"; names must be unique"));
    }
    header[entry.name] = {{"dtype", type_name(tensor.dtype())},
                          {"shape", std::vector<std::int64_t>(tensor.shape().begin(), tensor.shape().end())},
                          {"data_offsets", {offset, offset + tensor.num_bytes()}}};
    offset += tensor.num_bytes();
  }
  std::string json = header.dump();
  json.resize((json.size() + 7) / 8 * 8, ' ');
  const std::uint64_t length = json.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof length) + json;
}

}  // namespace

void write_safetensors(const std::filesystem::path& path, const std::vector<NamedTensor>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::vector<NamedTensor> ordered = tensors;
  for (NamedTensor& tensor : ordered) {
    if (tensor.tensor.dtype() == DType::c128) tensor = {concat(tensor.name, kComplexEnding), parts_of_complex(tensor.tensor)};
  }
  std::stable_sort(ordered.begin(), ordered.end(),
                   [](const NamedTensor& a, const NamedTensor& b) { return size_of(a.tensor.dtype()) > size_of(b.tensor.dtype()); });
  const std::string header = header_of(path, ordered, metadata);
  AtomicFile file(path);
  file.write(header);
  for (const auto& entry : ordered) {
    const Tensor values = packed(entry.tensor);
    file.write(values.bytes(), static_cast<std::size_t>(values.num_bytes()));
  }
  file.commit();
}

}  // namespace trident
