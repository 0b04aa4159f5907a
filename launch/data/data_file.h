/// Arrays of numbers in data files, whatever their format: HDF5 (netCDF-4), PyTorch's .pt, NumPy's .npy and .npz, safetensors.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "launch/data/hdf5_file.h"
#include "runtime/tensor/tensor.h"

namespace trident {

/// One array of an open file, read by blocks: of an HDF5 file from the disk; of the others from the mapped file, whose pages are read
/// when they are touched. Complex numbers are real ones with a last axis of 2: real and imaginary part.
class DataArray {
 public:
  explicit DataArray(Hdf5Dataset dataset);
  DataArray(std::string name, const Tensor& tensor);

  const std::string& name() const { return name_; }
  const Shape& shape() const { return shape_; }
  bool is_complex() const { return is_complex_; }
  /// The block of extents `count` at `start`, row-major, as f32 (true is 1); with `stride`, every so many along each axis. Of complex
  /// numbers both parts. Throws DataError.
  void read(const Shape& start, const Shape& count, float* target, const Shape& stride = {}) const;

 private:
  std::string name_;
  Shape shape_;
  bool is_complex_;
  std::variant<Hdf5Dataset, Tensor> values_;
};

class DataFile {
 public:
  /// The format is that of the file's first bytes. Throws DataError if it is none of them, or the file is missing or damaged.
  static DataFile open(const std::string& path);

  const std::string& path() const { return path_; }
  /// Throws DataError with the names that are there. A file of one array without a name (.npy, a bare tensor) has it under every name.
  DataArray array(const std::string& name) const;

 private:
  explicit DataFile(std::string path) : path_(std::move(path)) {}

  std::string path_;
  std::function<DataArray(const std::string&)> array_;
};

}  // namespace trident
