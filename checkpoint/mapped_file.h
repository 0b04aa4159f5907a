/// A file mapped into memory, read only.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>

namespace trident {

/// Tensors that view the mapping share its ownership; it is unmapped with the last of them.
class MappedFile {
 public:
  /// Throws CheckpointError if the file cannot be opened, is no regular file, or cannot be mapped.
  static std::shared_ptr<const MappedFile> open(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  explicit MappedFile(std::span<const std::byte> bytes) : bytes_(bytes) {}
  std::span<const std::byte> bytes_;
};

}  // namespace trident
