/// HDF5 files (netCDF-4 files are such): opened once, read and written by hyperslabs. Safe to use from several threads: one lock guards the
/// library, which Debian builds without its own. Floating numbers are read past it where that can be, by any number of threads at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "runtime/tensor/dtype.h"
#include "runtime/tensor/shape.h"

namespace trident {

struct Hdf5Object;
class Hdf5Pieces;

/// One variable of an open file.
class Hdf5Dataset {
 public:
  const std::string& name() const { return name_; }
  const Shape& shape() const { return shape_; }
  /// f32, f64, i64 for any integer, or c64 and c128 for pairs of floating numbers (r and i, as h5py and netCDF-4 store complex numbers).
  DType dtype() const { return dtype_; }
  /// The extents of a chunk; of rank 0 if the variable is stored in one piece.
  Shape chunks() const;

  /// The block of extents `count` at `start`, converted to T (float, double, std::int64_t; c64, c128), row-major; with `stride`, every so
  /// many along each axis. Throws DataError.
  template <class T>
  void read(const Shape& start, const Shape& count, T* target, const Shape& stride = {}) const;
  template <class T>
  void write(const Shape& start, const Shape& count, const T* values) const;

 private:
  friend class Hdf5File;

  std::shared_ptr<Hdf5Object> object_;
  std::string name_;
  Shape shape_;
  DType dtype_ = DType::f32;
  std::shared_ptr<const Hdf5Pieces> pieces_;  // null: only the library can read it
};

class Hdf5File {
 public:
  /// For reading. Throws DataError if the file is missing, truncated, or no HDF5 file.
  static Hdf5File open(const std::string& path);
  /// An empty file that replaces what is there.
  static Hdf5File create(const std::string& path);

  const std::string& path() const { return path_; }
  /// Names of the data sets and groups at the root, in alphabetical order.
  std::vector<std::string> names() const;
  /// Paths of all arrays of numbers, in groups too, but for netCDF dimensions that have no values.
  std::vector<std::string> variables() const;
  bool contains(const std::string& name) const;
  /// By its path in the file. Throws DataError, with the names that are there, if it is missing or no array of numbers.
  Hdf5Dataset dataset(const std::string& name) const;
  /// A new variable of zeros; `chunks` of rank 0: contiguous.
  Hdf5Dataset create_dataset(const std::string& name, const Shape& shape, DType dtype, const Shape& chunks = {});
  /// A new contiguous variable of numbers that are written past the library, once the file is closed: row-major, from the byte on that is
  /// returned.
  std::uint64_t reserve_dataset(const std::string& name, const Shape& shape, DType dtype);
  /// Makes dimensions as netCDF-4 writes them: a root data set without values for each name, attached to the axes of `dataset` in order.
  void attach_dimensions(const Hdf5Dataset& dataset, const std::vector<std::string>& dimensions);
  void write_attribute(const std::string& name, const std::string& value);
  /// The texts among the file's attributes, by name.
  std::map<std::string, std::string> attributes() const;
  /// Closes; throws DataError if something could not be written.
  void close();

 private:
  std::shared_ptr<Hdf5Object> object_;
  std::string path_;
};

}  // namespace trident
