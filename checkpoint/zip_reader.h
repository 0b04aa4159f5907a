/// Reading zip archives: stored and deflated entries, Zip64; every offset checked against the file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace trident {

class MappedFile;

struct ZipEntry {
  std::string name;
  std::uint64_t bytes = 0;         // after unpacking
  std::uint64_t packed_bytes = 0;  // in the archive
  std::uint64_t data_offset = 0;   // of the packed bytes in the file
  std::uint32_t checksum = 0;      // CRC-32 of the unpacked bytes
  bool deflated = false;
};

/// Bytes and what keeps them alive: the mapped archive, or a buffer of their own if they were deflated.
struct ZipData {
  std::span<const std::byte> bytes;
  std::shared_ptr<const void> owner;
};

class ZipReader {
 public:
  /// Throws CheckpointError on anything but a plain archive: spanned, encrypted, other compressions, names that occur twice, entries that
  /// overlap or lie outside the file.
  explicit ZipReader(const std::filesystem::path& path);
  ZipReader(ZipReader&&) = default;

  const std::vector<ZipEntry>& entries() const { return entries_; }
  /// Null if there is no such entry.
  const ZipEntry* find(std::string_view name) const;
  /// Unpacks the entry and checks its checksum.
  ZipData read(const ZipEntry& entry) const;

 private:
  std::filesystem::path path_;
  std::shared_ptr<const MappedFile> file_;
  std::vector<ZipEntry> entries_;
  std::unordered_map<std::string_view, std::size_t> index_;  // by the entries' own names
};

}  // namespace trident
