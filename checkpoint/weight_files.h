/// The named tensors of a model or a file, in whichever of the public forms they lie.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/tensor/tensor.h"

namespace trident {

struct StoredTensor {
  std::string name;
  std::string type;            // as the file spells it: "F32", "FloatStorage"
  std::optional<DType> dtype;  // empty: Trident cannot hold it
  Shape shape;
  std::function<Tensor()> load;  // any strides, a view of the mapped file where it can be; read only
};

/// Ends the name of a complex tensor that a safetensors file holds real, with a last dimension of 2: the format has no c128.
inline constexpr std::string_view kComplexEnding = "::complex";

class WeightFiles {
 public:
  /// A file (.safetensors; anything else as torch.save writes it), or a model directory in one of Hugging Face's forms, the first of which
  /// counts: model.safetensors, model.safetensors.index.json with its shards, pytorch_model.bin, pytorch_model.bin.index.json.
  /// Names that end in kComplexEnding lose it, and the tensors are complex.
  /// Throws CheckpointError if there is none, a file is damaged, or an index and its shards disagree.
  explicit WeightFiles(const std::filesystem::path& path);

  /// The files that hold the tensors.
  const std::vector<std::filesystem::path>& files() const { return files_; }
  const std::vector<StoredTensor>& tensors() const { return tensors_; }
  /// Null if there is no such tensor.
  const StoredTensor* find(std::string_view name) const;

 private:
  void add_file(const std::filesystem::path& path);
  void add_shards(const std::filesystem::path& index);
  void add(StoredTensor tensor);

  std::vector<std::filesystem::path> files_;
  std::vector<StoredTensor> tensors_;
  std::map<std::string, std::size_t, std::less<>> index_;
};

/// Whether the path is a folder with a config.json and one of the forms of weights.
bool is_model_directory(const std::filesystem::path& path);

}  // namespace trident
