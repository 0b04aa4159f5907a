/// A file mapped into memory, read only.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

namespace trident {

/// Tensors that view the mapping share its ownership; it is unmapped with the last of them.
///
/// A file that becomes shorter while it is mapped has pages that cannot be read any more, and no exception can leave the instruction that
/// reads them: the process then ends with an error that names the file, and exit code 1.
class MappedFile {
 public:
  /// Throws CheckpointError if the file cannot be opened, is no regular file, or cannot be mapped.
  static std::shared_ptr<const MappedFile> open(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  MappedFile(std::span<const std::byte> bytes, const std::filesystem::path& path);
  std::span<const std::byte> bytes_;
  std::string lost_;  // what to say when its pages are gone; made in time, because a signal handler cannot
};

}  // namespace trident
