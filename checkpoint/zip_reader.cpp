#include "checkpoint/zip_reader.h"

#include <zlib.h>

#include <algorithm>
#include <cstring>

#include "checkpoint/mapped_file.h"
#include "runtime/error.h"

namespace trident {
namespace {

constexpr std::uint32_t kEndSignature = 0x06054b50, kEnd64Signature = 0x06064b50, kLocatorSignature = 0x07064b50;
constexpr std::uint32_t kCentralSignature = 0x02014b50, kLocalSignature = 0x04034b50;
constexpr std::size_t kEndBytes = 22, kEnd64Bytes = 56, kLocatorBytes = 20, kCentralBytes = 46, kLocalBytes = 30;
constexpr std::uint64_t kMaxEntries = 200'000;
constexpr std::uint64_t kMaxDeflateRatio = 1032;  // what the format can reach: more is a lie

/// The file as little-endian numbers at checked offsets.
class Bytes {
 public:
  Bytes(const std::filesystem::path& path, std::span<const std::byte> bytes) : path_(path), bytes_(bytes) {}

  [[noreturn]] void reject(const std::string& what) const {
    throw CheckpointError(concat(path_.string(), ": not a valid zip archive: ", what, "; fetch or write the file again"));
  }
  std::uint64_t size() const { return bytes_.size(); }
  std::span<const std::byte> range(std::uint64_t offset, std::uint64_t count, const char* what) const {
    if (offset > size() || count > size() - offset) {
      reject(concat(what, " at byte ", offset, " needs ", count, " bytes, the file has ", size()));
    }
    return bytes_.subspan(offset, count);
  }
  template <class T>
  T number(std::uint64_t offset, const char* what) const {
    T value;
    std::memcpy(&value, range(offset, sizeof value, what).data(), sizeof value);
    return value;
  }
  std::uint16_t u16(std::uint64_t offset) const { return number<std::uint16_t>(offset, "a record"); }
  std::uint32_t u32(std::uint64_t offset) const { return number<std::uint32_t>(offset, "a record"); }
  std::uint64_t u64(std::uint64_t offset) const { return number<std::uint64_t>(offset, "a record"); }

 private:
  const std::filesystem::path& path_;
  std::span<const std::byte> bytes_;
};

struct Directory {
  std::uint64_t offset, bytes, entries;
};

/// The central directory, from the record at the end of the file (which may be followed by a comment of up to 65535 bytes).
Directory find_directory(const Bytes& file) {
  if (file.size() < kEndBytes) file.reject(concat("it has only ", file.size(), " bytes"));
  const std::uint64_t lowest = file.size() - std::min<std::uint64_t>(file.size(), kEndBytes + 65535);
  std::uint64_t end = file.size() - kEndBytes;
  while (file.u32(end) != kEndSignature || end + kEndBytes + file.u16(end + 20) != file.size()) {
    if (end == lowest) file.reject("it has no end record (the file is truncated, or no archive)");
    --end;
  }
  if (end >= kLocatorBytes && file.u32(end - kLocatorBytes) == kLocatorSignature) {
    const std::uint64_t end64 = file.u64(end - kLocatorBytes + 8);
    file.range(end64, kEnd64Bytes, "the Zip64 end record");
    if (file.u32(end64) != kEnd64Signature) file.reject("its Zip64 end record is not where the locator says");
    if (file.u32(end64 + 16) != 0 || file.u32(end64 + 20) != 0) file.reject("it spans several files");
    return {file.u64(end64 + 48), file.u64(end64 + 40), file.u64(end64 + 32)};
  }
  if (file.u16(end + 4) != 0 || file.u16(end + 6) != 0) file.reject("it spans several files");
  return {file.u32(end + 16), file.u32(end + 12), file.u16(end + 10)};
}

/// Replaces the sizes and the offset that are 0xFFFFFFFF by those of the Zip64 field in the entry's extra bytes.
void read_zip64(const Bytes& file, std::uint64_t extra, std::uint64_t extra_end, ZipEntry& entry, std::uint64_t& local_offset) {
  constexpr std::uint64_t kElsewhere = 0xFFFFFFFF;
  if (entry.bytes != kElsewhere && entry.packed_bytes != kElsewhere && local_offset != kElsewhere) return;
  for (; extra_end - extra >= 4; extra += 4 + std::uint64_t{file.u16(extra + 2)}) {
    const std::uint64_t field_end = extra + 4 + file.u16(extra + 2);
    if (field_end > extra_end) break;
    if (file.u16(extra) != 1) continue;
    std::uint64_t next = extra + 4;
    for (std::uint64_t* value : {&entry.bytes, &entry.packed_bytes, &local_offset}) {
      if (*value != kElsewhere) continue;
      if (field_end - next < 8) file.reject(concat("the Zip64 sizes of entry \"", entry.name, "\" are cut off"));
      *value = file.u64(next);
      next += 8;
    }
    return;
  }
  file.reject(concat("entry \"", entry.name, "\" has no Zip64 sizes"));
}

/// Checks the header in front of the entry's data and returns where the data begin.
std::uint64_t data_offset_of(const Bytes& file, std::uint64_t local, const ZipEntry& entry) {
  file.range(local, kLocalBytes, "a local header");
  if (file.u32(local) != kLocalSignature) file.reject(concat("entry \"", entry.name, "\" has no local header at byte ", local));
  const std::uint64_t name_bytes = file.u16(local + 26);
  const auto name = file.range(local + kLocalBytes, name_bytes, "a name");
  if (std::string_view(reinterpret_cast<const char*>(name.data()), name.size()) != entry.name) {
    file.reject(concat("entry \"", entry.name, "\" has another name in its local header"));
  }
  const std::uint64_t offset = local + kLocalBytes + name_bytes + file.u16(local + 28);
  file.range(offset, entry.packed_bytes, "an entry");
  return offset;
}

/// Reads the entry of the central directory at `at` and moves past it.
ZipEntry read_entry(const Bytes& file, std::uint64_t& at) {
  file.range(at, kCentralBytes, "an entry of the directory");
  if (file.u32(at) != kCentralSignature) file.reject(concat("its directory has no entry at byte ", at));
  const std::uint16_t flags = file.u16(at + 8), method = file.u16(at + 10);
  ZipEntry entry;
  const std::uint64_t name_bytes = file.u16(at + 28), extra_bytes = file.u16(at + 30), comment_bytes = file.u16(at + 32);
  const auto name = file.range(at + kCentralBytes, name_bytes, "a name");
  entry.name.assign(reinterpret_cast<const char*>(name.data()), name.size());
  if ((flags & 0x2041) != 0) file.reject(concat("entry \"", entry.name, "\" is encrypted"));
  if (method != 0 && method != 8) file.reject(concat("entry \"", entry.name, "\" has compression ", method, "; 0 and 8 are known"));
  entry.deflated = method == 8;
  entry.checksum = file.u32(at + 16);
  entry.packed_bytes = file.u32(at + 20);
  entry.bytes = file.u32(at + 24);
  std::uint64_t local = file.u32(at + 42);
  const std::uint64_t extra = at + kCentralBytes + name_bytes;
  file.range(extra, extra_bytes + comment_bytes, "an entry of the directory");
  read_zip64(file, extra, extra + extra_bytes, entry, local);
  entry.data_offset = data_offset_of(file, local, entry);
  if (!entry.deflated && entry.bytes != entry.packed_bytes) file.reject(concat("entry \"", entry.name, "\" is stored with two sizes"));
  if (entry.deflated && entry.bytes / kMaxDeflateRatio > entry.packed_bytes) {
    file.reject(concat("entry \"", entry.name, "\" claims ", entry.bytes, " bytes from ", entry.packed_bytes));
  }
  at = extra + extra_bytes + comment_bytes;
  return entry;
}

void check_overlaps(const Bytes& file, std::vector<ZipEntry> entries, std::uint64_t directory) {
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.data_offset < b.data_offset; });
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const std::uint64_t limit = i + 1 < entries.size() ? entries[i + 1].data_offset : directory;
    if (entries[i].data_offset + entries[i].packed_bytes > limit)
      file.reject(concat("entry \"", entries[i].name, "\" overlaps what follows"));
  }
}

/// The unpacked bytes; null if there are more, fewer, or none because the stream is damaged.
std::shared_ptr<std::vector<std::byte>> inflated(std::span<const std::byte> packed, std::uint64_t bytes) {
  auto buffer = std::make_shared<std::vector<std::byte>>(std::max<std::uint64_t>(bytes, 1));  // zlib wants an address, even for nothing
  z_stream stream{};
  if (inflateInit2(&stream, -MAX_WBITS) != Z_OK) throw DeviceError("zlib: inflateInit2 found no memory; free some");
  constexpr std::uint64_t kPart = std::uint64_t{1} << 30;  // zlib counts in 32 bits: both sides are handed over in parts
  std::uint64_t taken = 0, given = 0;
  int status = Z_OK;
  while (status == Z_OK) {
    const std::uint64_t in = std::min<std::uint64_t>(kPart, packed.size() - taken), out = std::min(kPart, bytes - given);
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(packed.data() + taken));
    stream.avail_in = static_cast<uInt>(in);
    stream.next_out = reinterpret_cast<Bytef*>(buffer->data() + given);
    stream.avail_out = static_cast<uInt>(out);
    status = inflate(&stream, Z_NO_FLUSH);  // Z_BUF_ERROR when nothing moves any more
    taken += in - stream.avail_in;
    given += out - stream.avail_out;
  }
  inflateEnd(&stream);
  return status == Z_STREAM_END && given == bytes ? buffer : nullptr;
}

}  // namespace

ZipReader::ZipReader(const std::filesystem::path& path) : path_(path), file_(MappedFile::open(path)) {
  const Bytes file(path_, file_->bytes());
  const Directory directory = find_directory(file);
  file.range(directory.offset, directory.bytes, "its directory");
  if (directory.entries > kMaxEntries) file.reject(concat("it has ", directory.entries, " entries; at most ", kMaxEntries, " are read"));
  std::uint64_t at = directory.offset;
  entries_.reserve(directory.entries);  // the index views the names, so they must stay where they are
  for (std::uint64_t i = 0; i < directory.entries; ++i) {
    entries_.push_back(read_entry(file, at));
    if (at > directory.offset + directory.bytes) file.reject("its directory is longer than the end record says");
    if (!index_.emplace(entries_.back().name, i).second) file.reject(concat("entry \"", entries_.back().name, "\" is there twice"));
  }
  check_overlaps(file, entries_, directory.offset);
}

const ZipEntry* ZipReader::find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &entries_[found->second];
}

ZipData ZipReader::read(const ZipEntry& entry) const {
  const Bytes file(path_, file_->bytes());
  ZipData data{file_->bytes().subspan(entry.data_offset, entry.packed_bytes), file_};
  if (entry.deflated) {
    auto buffer = inflated(data.bytes, entry.bytes);
    if (!buffer) file.reject(concat("entry \"", entry.name, "\" does not inflate to its size"));
    data = {std::span(buffer->data(), entry.bytes), buffer};
  }
  if (crc32_z(0, reinterpret_cast<const Bytef*>(data.bytes.data()), data.bytes.size()) != entry.checksum) {
    file.reject(concat("entry \"", entry.name, "\" does not have its checksum; the file is damaged"));
  }
  return data;
}

}  // namespace trident
