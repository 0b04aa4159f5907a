/// Reading files of torch.save (pytorch_model.bin, .pt): the pickle inside is walked and never executed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/torch_archive.h"
#include "runtime/config.h"
#include "runtime/tensor/tensor.h"

namespace trident {

struct PickleValue;

/// One tensor: a view of a storage, which others may share.
struct TorchEntry {
  std::string name;            // keys of nested dicts and lists joined by dots
  std::string type;            // of the storage: "FloatStorage", "BoolStorage", ...
  std::optional<DType> dtype;  // empty: a type that Trident cannot hold (ByteStorage, ...)
  Shape shape, strides;        // in elements
  std::int64_t offset = 0;     // elements into the storage
  std::string storage;         // its key in the archive
};

class TorchReader {
 public:
  /// Throws CheckpointError that names the file and what is refused: other formats (before PyTorch 1.6, TorchScript), Python objects that
  /// are no tensors, storages that are missing or of another size, views that leave their storage. Objects are accepted under the key
  /// "_metadata" alone, where neuraloperator has the model's arguments.
  explicit TorchReader(const std::filesystem::path& path);

  const std::vector<TorchEntry>& entries() const { return entries_; }
  const TorchEntry* find(std::string_view name) const;
  /// What is no tensor (pickled_values.h).
  const ConfigValue& values() const { return values_; }
  /// The tensor with its strides; tensors of one storage share memory, which is the mapped file unless the entry is deflated. Read only.
  Tensor tensor(std::string_view name);

 private:
  [[noreturn]] void reject(const std::string& what) const;
  [[noreturn]] void reject_object(const std::string& name) const;
  void collect(const std::string& name, const PickleValue& value, int depth);
  void add_tensor(const std::string& name, const PickleValue& call);
  std::shared_ptr<Storage> storage(const TorchEntry& entry);

  std::filesystem::path path_;
  TorchArchive archive_;
  ConfigValue values_;
  std::vector<TorchEntry> entries_;
  std::map<std::string, std::size_t, std::less<>> index_;
  std::map<std::string, std::shared_ptr<Storage>> storages_;
  std::size_t num_visited_ = 0;
};

}  // namespace trident
