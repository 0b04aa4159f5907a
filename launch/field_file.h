/// Files of named fields that `predict`, `evaluate` and `plot` read and write, whole or by parts: safetensors, or HDF5 by the ending .h5,
/// .hdf5 or .nc.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/safetensors_writer.h"
#include "checkpoint/shared_file.h"
#include "parallel/field_sharing.h"

namespace trident {

class Hdf5File;
class SafetensorsReader;

using Notes = std::map<std::string, std::string>;  // safetensors metadata, HDF5 attributes

/// A field of a file, without its numbers.
struct FieldDescription {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;
};

/// Where a piece lies in fields (samples, ..., space...) of `num_dims` space axes; pairs: with a last axis of real and imaginary parts.
Box box_of(const FieldPiece& piece, const Shape& shape, int num_dims, bool pairs);

/// An open file. Of HDF5 files the data sets called input, output, time and pixel_mask are seen; of safetensors everything. All functions
/// throw DataError or CheckpointError.
class FieldFileReader {
 public:
  explicit FieldFileReader(const std::string& path);
  const std::vector<FieldDescription>& fields() const { return fields_; }
  const Notes& notes() const { return notes_; }
  /// Nothing if there is no such field.
  std::optional<FieldDescription> find(const std::string& name) const;
  /// A box of a field; nothing else of it is read.
  Tensor read(const std::string& name, const Box& box) const;
  /// All of it; undefined if there is no such field.
  Tensor read(const std::string& name) const;

 private:
  std::string path_;
  std::shared_ptr<const Hdf5File> hdf5_;
  std::shared_ptr<const SafetensorsReader> safetensors_;
  std::vector<FieldDescription> fields_;
  Notes notes_;
};

/// A file that several ranks write together, each its parts; it appears complete or not at all. Complex fields become pairs of reals where
/// the format has no complex numbers.
class FieldFileWriter {
 public:
  /// Collective; the same on all ranks.
  FieldFileWriter(const std::string& path, const std::vector<FieldDescription>& fields, const Notes& notes, Communicator& ranks);
  /// By any rank, in any order.
  void write(const std::string& name, const Box& box, const Tensor& part) const;
  /// This rank's pieces of a field, as they lie behind each other in `part`, of samples counted from `first_sample` on.
  void write(const std::string& name, const FieldPieces& pieces, const Tensor& part, int num_dims, bool pairs,
             std::int64_t first_sample = 0) const;
  /// Collective, when all is written.
  void commit() { file_->commit(); }

 private:
  struct Place {
    Shape given;
    FieldDescription field;  // as it is stored
    std::uint64_t offset = 0;
  };
  std::map<std::string, Place> places_;  // by the name that it was given
  std::unique_ptr<SharedFile> file_;
};

bool is_hdf5_name(const std::string& path);

/// A file as a whole.
struct FieldFile {
  std::vector<NamedTensor> tensors;
  Notes notes;

  /// Undefined if there is no such tensor.
  Tensor find(const std::string& name) const;
};
FieldFile read_field_file(const std::string& path);

}  // namespace trident
