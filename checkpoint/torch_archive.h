/// The zip archive that torch.save writes: where its pickle and its storages are.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "checkpoint/zip_reader.h"

namespace trident {

class TorchArchive {
 public:
  /// Throws CheckpointError that says which other format the file has: before PyTorch 1.6, TorchScript, no archive at all.
  explicit TorchArchive(const std::filesystem::path& path);

  /// data.pkl.
  ZipData pickle() const { return zip_.read(*pickle_); }
  /// The storage called `key`, or null.
  const ZipEntry* storage(std::string_view key) const;
  ZipData read(const ZipEntry& entry) const { return zip_.read(entry); }

 private:
  [[noreturn]] static void reject(const std::filesystem::path& path, const std::string& what);

  ZipReader zip_;
  std::string folder_;  // of the archive: "archive/"
  const ZipEntry* pickle_ = nullptr;
};

/// Whether the file begins as a zip archive does.
bool is_zip_archive(const std::filesystem::path& path);

}  // namespace trident
