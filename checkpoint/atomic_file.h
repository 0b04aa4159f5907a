/// Files that a later run may read are never half-written: temporary name, fsync, rename, fsync of the directory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace trident {

/// A file that appears under its name complete or not at all. Until commit() it lies beside it as `.NAME.PID.N.tmp`; without one it is
/// removed; what a killed process left of the same name goes when the next one begins. Whatever had the name before stays until then; a
/// link goes on leading to its file, and what is no file is refused. All functions throw CheckpointError with the path and the system's
/// reason.
class AtomicFile {
 public:
  explicit AtomicFile(const std::filesystem::path& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* data, std::size_t bytes);
  void write(std::string_view text) { write(text.data(), text.size()); }
  /// Makes the file that long, and sure of its place on the disk.
  void reserve(std::uint64_t bytes);
  /// Where the bytes are until commit(): a library that writes files itself (HDF5) may open it in place of write().
  const std::filesystem::path& temporary() const { return temporary_; }
  /// Returns once the file would survive a loss of power.
  void commit();

 private:
  std::filesystem::path path_, temporary_;
  int descriptor_ = -1;
};

void write_file_atomically(const std::filesystem::path& path, std::string_view contents);

/// Makes the names in a directory (files made, renamed, removed) survive a loss of power.
void sync_directory(const std::filesystem::path& directory);
/// Makes a folder and those above it, where they are missing.
void make_folder(const std::filesystem::path& folder);
/// A whole text file. Throws CheckpointError if it cannot be read or is larger than `limit` bytes.
std::string read_text_file(const std::filesystem::path& path, std::size_t limit = std::size_t{64} << 20);

}  // namespace trident
