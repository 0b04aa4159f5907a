/// Reading .npy and .npz files of NumPy, without pickles.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/zip_reader.h"
#include "runtime/tensor/tensor.h"

namespace trident {

struct NumpyEntry {
  std::string name;            // of an .npz: without ".npy"; of an .npy: empty
  std::string type;            // as NumPy spells it: "<f4"
  std::optional<DType> dtype;  // empty: Trident cannot hold it
  Shape shape, strides;        // strides in elements: column-major where the file is
};

class NumpyReader {
 public:
  /// Throws CheckpointError that names the file and what its header breaks: magic, version, keys, shapes that overflow or do not fit the
  /// bytes.
  explicit NumpyReader(const std::filesystem::path& path);

  const std::vector<NumpyEntry>& entries() const { return entries_; }
  /// A view of the mapped file (of its own memory where the archive is deflated or the numbers are not aligned). Read only. Throws
  /// CheckpointError if there is no such array or Trident has no such number type.
  Tensor tensor(std::string_view name) const;

 private:
  void add(const std::string& name, const ZipData& data);

  std::filesystem::path path_;
  std::vector<NumpyEntry> entries_;
  std::vector<ZipData> values_;  // the bytes of each array
};

}  // namespace trident
