/// Files of named fields that `predict` and `plot` read and write: safetensors, or HDF5 by the ending .h5, .hdf5 or .nc.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "checkpoint/safetensors_writer.h"

namespace trident {

struct FieldFile {
  std::vector<NamedTensor> tensors;
  std::map<std::string, std::string> notes;  // safetensors metadata, HDF5 attributes

  /// Undefined if there is no such tensor.
  Tensor find(const std::string& name) const;
};

bool is_hdf5_name(const std::string& path);
/// Of an HDF5 file, the data sets called input, output, time and pixel_mask; of safetensors everything. Throws DataError, CheckpointError.
FieldFile read_field_file(const std::string& path);
/// Appears complete or not at all.
void write_field_file(const std::string& path, const FieldFile& file);

}  // namespace trident
