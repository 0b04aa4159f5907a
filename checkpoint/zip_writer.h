/// Writing zip archives of stored entries, Zip64 where it needs to be.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace trident {

class AtomicFile;

class ZipWriter {
 public:
  /// Writes to `file`, which the caller commits after finish(). The data of every entry begin at a multiple of `alignment` bytes.
  ZipWriter(AtomicFile& file, std::uint64_t alignment) : file_(file), alignment_(alignment) {}

  void add(const std::string& name, std::span<const std::byte> data);
  void add(const std::string& name, std::string_view text) { add(name, std::as_bytes(std::span(text))); }
  /// The directory at the end of the archive. Nothing may be added after it.
  void finish();

 private:
  struct Entry {
    std::string name;
    std::uint64_t bytes, offset;  // of the data; of the entry's header in the file
    std::uint32_t checksum;
  };
  void write(std::string_view bytes);

  AtomicFile& file_;
  std::uint64_t alignment_;
  std::uint64_t position_ = 0;
  std::vector<Entry> entries_;
};

}  // namespace trident
