#include "checkpoint/weight_files.h"

#include <array>
#include <memory>
#include <set>

#include "checkpoint/atomic_file.h"
#include "checkpoint/complex_parts.h"
#include "checkpoint/safetensors_reader.h"
#include "checkpoint/torch_reader.h"
#include "runtime/config.h"
#include "runtime/error.h"

namespace trident {
namespace {

namespace fs = std::filesystem;

constexpr std::array kForms{"model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"};

std::optional<fs::path> weights_in(const fs::path& folder) {
  for (const char* form : kForms) {
    if (fs::exists(folder / form)) return folder / form;
  }
  return std::nullopt;
}

/// {"weight_map": {tensor: file}}
std::vector<std::pair<std::string, std::string>> read_index(const fs::path& path) {
  std::vector<std::pair<std::string, std::string>> result;
  const ConfigValue document = parse_json(read_text_file(path), path.string());
  const ConfigValue* map = document.find("weight_map");
  if (map == nullptr) throw CheckpointError(concat(path.string(), ": has no \"weight_map\"; fetch the index again"));
  for (const auto& [tensor, file] : map->entries()) {
    // The folder may come from strangers: its index must not lead out of it.
    if (file.as_string().empty() || file.as_string().find('/') != std::string::npos) {
      throw CheckpointError(concat(file.where(), ": \"", file.as_string(), "\" is no file beside the index; fetch the index again"));
    }
    result.emplace_back(tensor, file.as_string());
  }
  return result;
}

}  // namespace

WeightFiles::WeightFiles(const fs::path& path) {
  const auto weights = fs::is_directory(path) ? weights_in(path) : std::optional(path);
  if (!weights) {
    throw CheckpointError(concat(path.string(), ": has no weights (", kForms[0], ", ", kForms[1], ", ", kForms[2], " or ", kForms[3],
                                 "); give the path of a model directory"));
  }
  if (weights->extension() == ".json") {
    add_shards(*weights);
  } else {
    add_file(*weights);
  }
}

void WeightFiles::add_file(const fs::path& path) {
  files_.push_back(path);
  if (path.extension() == ".safetensors") {
    const auto reader = std::make_shared<SafetensorsReader>(path);
    for (const SafetensorsEntry& entry : reader->entries()) {
      StoredTensor tensor{entry.name, entry.type, entry.dtype, entry.shape, [reader, name = entry.name] { return reader->tensor(name); }};
      if (entry.name.ends_with(kComplexEnding) && may_be_complex_parts(tensor)) {
        tensor = complex_of_parts(std::move(tensor));
        tensor.name.resize(tensor.name.size() - kComplexEnding.size());
      }
      add(std::move(tensor));
    }
  } else {
    const auto reader = std::make_shared<TorchReader>(path);
    for (const TorchEntry& entry : reader->entries()) {
      add({entry.name, entry.type, entry.dtype, entry.shape, [reader, name = entry.name] { return reader->tensor(name); }});
    }
  }
}

void WeightFiles::add_shards(const fs::path& index) {
  const auto places = read_index(index);
  std::set<std::string> shards;
  for (const auto& [tensor, file] : places) shards.insert(file);
  std::map<std::string, std::string> file_of;
  for (const std::string& shard : shards) {
    const std::size_t first = tensors_.size();
    add_file(index.parent_path() / shard);
    for (std::size_t i = first; i < tensors_.size(); ++i) file_of[tensors_[i].name] = shard;
  }
  std::string lines;
  for (const auto& [tensor, file] : places) {
    const auto found = file_of.find(tensor);
    if (found == file_of.end() || found->second != file) lines += concat("\n  ", tensor, ": not in ", file);
  }
  if (!lines.empty() || places.size() != tensors_.size()) {
    throw CheckpointError(concat(index.string(), ": names ", places.size(), " tensors, its shards have ", tensors_.size(), lines,
                                 "\nfetch the index and the shards again"));
  }
}

void WeightFiles::add(StoredTensor tensor) {
  if (!index_.emplace(tensor.name, tensors_.size()).second) {
    throw CheckpointError(concat(files_.back().string(), ": tensor \"", tensor.name, "\" is in another shard too; fetch the shards again"));
  }
  tensors_.push_back(std::move(tensor));
}

const StoredTensor* WeightFiles::find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

bool is_model_directory(const fs::path& path) { return fs::is_regular_file(path / "config.json") && weights_in(path).has_value(); }

}  // namespace trident
