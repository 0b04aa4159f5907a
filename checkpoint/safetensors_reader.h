/// Reading safetensors files: mapped into memory, every number of the header checked before it is used.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/tensor/tensor.h"

namespace trident {

class MappedFile;

/// One tensor as the header describes it.
struct SafetensorsEntry {
  std::string name;
  std::string type;            // as the format spells it: "F32", "BOOL", ...
  std::optional<DType> dtype;  // empty: a type of the format that Trident cannot hold (U8, F8_E4M3, ...)
  Shape shape;
  std::uint64_t offset = 0;  // bytes into the data part of the file
  std::uint64_t bytes = 0;
};

class SafetensorsReader {
 public:
  /// Throws CheckpointError that names the file and the tensor if the file is missing or its header breaks any rule of the format: size,
  /// UTF-8, JSON, duplicate names, unknown types, shapes that overflow or do not fit their bytes, overlaps, holes, another file length.
  explicit SafetensorsReader(const std::filesystem::path& path);

  /// In the order of their bytes.
  const std::vector<SafetensorsEntry>& entries() const { return entries_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  /// Null if there is no such tensor.
  const SafetensorsEntry* find(std::string_view name) const;
  /// A view of the mapped file, which it keeps alive (a copy where the file does not align the numbers). Read only: writing to it is a
  /// memory fault. Throws CheckpointError if there is no such tensor, Trident has no such number type, or a BOOL is neither 0 nor 1.
  Tensor tensor(std::string_view name) const;

 private:
  std::filesystem::path path_;
  std::shared_ptr<const MappedFile> file_;
  std::size_t data_start_ = 0;
  std::vector<SafetensorsEntry> entries_;
  std::map<std::string, std::size_t, std::less<>> index_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace trident
