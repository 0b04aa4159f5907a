#include "checkpoint/torch_archive.h"

#include "checkpoint/mapped_file.h"
#include "runtime/error.h"

namespace trident {
namespace {

constexpr std::uint64_t kMaxPickleBytes = std::uint64_t{16} << 20;  // Poseidon-L's has 0.2 MB
constexpr std::string_view kZip = "PK\3\4";

/// The archive; or the error that says which other format of PyTorch's the file has.
ZipReader open_archive(const std::filesystem::path& path) {
  constexpr std::string_view kLegacy("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 14);  // protocol 2, the magic number
  const auto file = MappedFile::open(path);
  const std::string_view text(reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size());
  if (text.starts_with(kLegacy)) {
    throw CheckpointError(
        concat(path.string(), ": has the format of PyTorch before 1.6; load it there and save it again, best as safetensors"));
  }
  if (!text.starts_with(kZip)) {
    throw CheckpointError(concat(path.string(), ": is no file of torch.save (no zip archive, ", text.size(), " bytes); give a model file"));
  }
  return ZipReader(path);
}

}  // namespace

bool is_zip_archive(const std::filesystem::path& path) {
  const auto file = MappedFile::open(path);
  return std::string_view(reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size()).starts_with(kZip);
}

TorchArchive::TorchArchive(const std::filesystem::path& path) : zip_(open_archive(path)) {
  constexpr std::string_view kPickle = "/data.pkl";
  for (const ZipEntry& entry : zip_.entries()) {
    const std::size_t slash = entry.name.find('/');
    if (slash == std::string::npos || std::string_view(entry.name).substr(slash) != kPickle) continue;
    if (pickle_ != nullptr) reject(path, "it has two data.pkl");
    pickle_ = &entry;
    folder_ = entry.name.substr(0, slash + 1);
  }
  if (pickle_ == nullptr) reject(path, "it has no data.pkl");
  if (zip_.find(folder_ + "constants.pkl") != nullptr) reject(path, "it is a TorchScript program, not a file of tensors");
  if (pickle_->bytes > kMaxPickleBytes) {
    reject(path, concat("its data.pkl has ", pickle_->bytes, " bytes; at most ", kMaxPickleBytes, " are read"));
  }
  if (const ZipEntry* order = zip_.find(folder_ + "byteorder")) {
    const ZipData data = zip_.read(*order);
    const std::string_view text(reinterpret_cast<const char*>(data.bytes.data()), data.bytes.size());
    if (text != "little") reject(path, "its byte order is not little-endian");
  }
}

void TorchArchive::reject(const std::filesystem::path& path, const std::string& what) {
  throw CheckpointError(concat(path.string(), ": cannot be read as a file of torch.save: ", what, "; fetch or save it again"));
}

const ZipEntry* TorchArchive::storage(std::string_view key) const { return zip_.find(concat(folder_, "data/", key)); }

}  // namespace trident
