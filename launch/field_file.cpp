#include "launch/field_file.h"

#include <algorithm>

#include "checkpoint/atomic_file.h"
#include "checkpoint/safetensors_reader.h"
#include "launch/data/hdf5_file.h"
#include "runtime/error.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

template <class T>
Tensor read_values(const Hdf5Dataset& dataset) {
  std::vector<T> values(static_cast<std::size_t>(numel(dataset.shape())));
  Shape start = dataset.shape();
  for (int dim = 0; dim < start.rank(); ++dim) start[dim] = 0;
  dataset.read<T>(start, dataset.shape(), values.data());
  return from_values<T>(dataset.shape(), values);
}

Tensor read_dataset(const Hdf5Dataset& dataset) {
  if (dataset.dtype() == DType::f64) return read_values<double>(dataset);
  if (dataset.dtype() == DType::f32) return read_values<float>(dataset);
  const Tensor integers = read_values<std::int64_t>(dataset);
  const Tensor flags = empty(integers.shape(), DType::boolean);  // integers stand for masks: HDF5 has no bool
  copy_into(flags, integers);
  return flags;
}

FieldFile read_hdf5(const std::string& path) {
  FieldFile file;
  const Hdf5File hdf5 = Hdf5File::open(path);
  for (const char* name : {"input", "output", "time", "pixel_mask"}) {
    if (hdf5.contains(name)) file.tensors.push_back({name, read_dataset(hdf5.dataset(name))});
  }
  return file;
}

template <class T>
void write_values(const Hdf5Dataset& dataset, const Tensor& x) {
  Shape start = x.shape();
  for (int dim = 0; dim < start.rank(); ++dim) start[dim] = 0;
  dataset.write<T>(start, x.shape(), to_host<T>(x).data());
}

void write_hdf5(const std::string& path, const FieldFile& file) {
  AtomicFile target(path);
  Hdf5File hdf5 = Hdf5File::create(target.temporary().string());
  for (const NamedTensor& field : file.tensors) {
    const bool wide = field.tensor.dtype() == DType::f64;
    const Hdf5Dataset dataset = hdf5.create_dataset(field.name, field.tensor.shape(), wide ? DType::f64 : DType::f32);
    if (wide) {
      write_values<double>(dataset, field.tensor);
    } else {
      write_values<float>(dataset, field.tensor);
    }
  }
  for (const auto& [name, value] : file.notes) hdf5.write_attribute(name, value);
  hdf5.close();
  target.commit();
}

}  // namespace

Tensor FieldFile::find(const std::string& name) const {
  const auto found = std::ranges::find(tensors, name, &NamedTensor::name);
  return found == tensors.end() ? Tensor{} : found->tensor;
}

bool is_hdf5_name(const std::string& path) { return path.ends_with(".h5") || path.ends_with(".hdf5") || path.ends_with(".nc"); }

FieldFile read_field_file(const std::string& path) {
  if (is_hdf5_name(path)) return read_hdf5(path);
  const SafetensorsReader reader(path);
  FieldFile file;
  for (const SafetensorsEntry& entry : reader.entries()) file.tensors.push_back({entry.name, reader.tensor(entry.name)});
  file.notes = reader.metadata();
  return file;
}

void write_field_file(const std::string& path, const FieldFile& file) {
  if (is_hdf5_name(path)) return write_hdf5(path, file);
  std::map<std::string, std::string> metadata = file.notes;
  metadata["format"] = "pt";
  write_safetensors(path, file.tensors, metadata);
}

}  // namespace trident
