#include "checkpoint/zip_writer.h"

#include <zlib.h>

#include "checkpoint/atomic_file.h"

namespace trident {
namespace {

constexpr std::uint64_t kElsewhere = 0xFFFFFFFF;  // "see the Zip64 field"
constexpr std::size_t kLocalBytes = 30, kExtraHeaderBytes = 4, kZip64Bytes = 16;
constexpr std::uint16_t kVersion = 45;           // that can read Zip64
constexpr std::uint16_t kUtf8 = 1 << 11;         // names
constexpr std::uint16_t kDate = 1 << 5 | 1;      // 1 January 1980: files do not depend on the clock
constexpr std::uint16_t kPaddingField = 0x4246;  // "FB", as PyTorch pads

template <class... Numbers>
std::string little_endian(Numbers... numbers) {
  std::string bytes;
  (bytes.append(reinterpret_cast<const char*>(&numbers), sizeof numbers), ...);
  return bytes;
}

std::uint32_t narrow(std::uint64_t value) { return static_cast<std::uint32_t>(value < kElsewhere ? value : kElsewhere); }

/// What the local header and the directory's entry share: version to extra length. Time 0.
std::string common_header(std::uint32_t checksum, std::uint64_t bytes, std::size_t name_bytes, std::size_t extra_bytes) {
  return little_endian(kVersion, kUtf8, std::uint16_t{0}, std::uint16_t{0}, kDate, checksum, narrow(bytes), narrow(bytes),
                       static_cast<std::uint16_t>(name_bytes), static_cast<std::uint16_t>(extra_bytes));
}

}  // namespace

void ZipWriter::write(std::string_view bytes) {
  file_.write(bytes);
  position_ += bytes.size();
}

void ZipWriter::add(const std::string& name, std::span<const std::byte> data) {
  Entry entry{name, data.size(), position_, 0};
  entry.checksum = static_cast<std::uint32_t>(crc32_z(0, reinterpret_cast<const Bytef*>(data.data()), data.size()));
  std::string extra;
  if (entry.bytes >= kElsewhere) {
    extra = little_endian(std::uint16_t{1}, static_cast<std::uint16_t>(kZip64Bytes), entry.bytes, entry.bytes);
  }
  const std::uint64_t begin = position_ + kLocalBytes + name.size() + extra.size() + kExtraHeaderBytes;
  const std::uint64_t padding = (alignment_ - begin % alignment_) % alignment_;
  extra += little_endian(kPaddingField, static_cast<std::uint16_t>(padding)) + std::string(padding, '\0');
  write(little_endian(std::uint32_t{0x04034b50}) + common_header(entry.checksum, entry.bytes, name.size(), extra.size()) + name + extra);
  file_.write(data.data(), data.size());
  position_ += data.size();
  entries_.push_back(std::move(entry));
}

void ZipWriter::finish() {
  const std::uint64_t directory = position_;
  for (const Entry& entry : entries_) {
    std::string fields;
    if (entry.bytes >= kElsewhere) fields += little_endian(entry.bytes, entry.bytes);
    if (entry.offset >= kElsewhere) fields += little_endian(entry.offset);
    const std::string extra = fields.empty() ? "" : little_endian(std::uint16_t{1}, static_cast<std::uint16_t>(fields.size())) + fields;
    write(little_endian(std::uint32_t{0x02014b50}, kVersion) + common_header(entry.checksum, entry.bytes, entry.name.size(), extra.size()) +
          little_endian(std::uint16_t{0}, std::uint16_t{0}, std::uint16_t{0}, std::uint32_t{0}, narrow(entry.offset)) + entry.name + extra);
  }
  const std::uint64_t bytes = position_ - directory, end64 = position_, count = entries_.size();
  const bool is_large = directory >= kElsewhere || bytes >= kElsewhere || count >= 0xFFFF;
  if (is_large) {
    write(little_endian(std::uint32_t{0x06064b50}, std::uint64_t{44}, kVersion, kVersion, std::uint32_t{0}, std::uint32_t{0}, count, count,
                        bytes, directory));
    write(little_endian(std::uint32_t{0x07064b50}, std::uint32_t{0}, end64, std::uint32_t{1}));
  }
  const auto short_count = static_cast<std::uint16_t>(count < 0xFFFF ? count : 0xFFFF);
  write(little_endian(std::uint32_t{0x06054b50}, std::uint16_t{0}, std::uint16_t{0}, short_count, short_count, narrow(bytes),
                      narrow(directory), std::uint16_t{0}));
}

}  // namespace trident
