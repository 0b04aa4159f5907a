#include "launch/data/data_file.h"

#include <array>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>

#include "checkpoint/numpy_reader.h"
#include "checkpoint/safetensors_reader.h"
#include "checkpoint/torch_archive.h"
#include "checkpoint/torch_reader.h"
#include "checkpoint/zip_reader.h"
#include "runtime/error.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"

namespace trident {
namespace {

enum class Format { hdf5, numpy, torch, safetensors };

bool holds_pickle(const std::string& path) {
  const ZipReader archive(path);
  for (const ZipEntry& entry : archive.entries()) {
    if (entry.name.ends_with("/data.pkl")) return true;
  }
  return false;
}

Format format_of(const std::string& path) {
  std::array<char, 8> bytes{};
  if (!std::filesystem::is_regular_file(path)) return Format::hdf5;  // to open a pipe waits for its writer
  std::ifstream(path, std::ios::binary).read(bytes.data(), bytes.size());
  const std::string_view begin(bytes.data(), bytes.size());
  if (begin == "\x89HDF\r\n\x1a\n") return Format::hdf5;
  if (begin.starts_with("\x93NUMPY")) return Format::numpy;
  if (begin.starts_with("PK\3\4")) return holds_pickle(path) ? Format::torch : Format::numpy;
  if (path.ends_with(".safetensors")) return Format::safetensors;
  return Format::hdf5;  // whose reader says what is wrong
}

/// The array called `name` of a reader's tensors, or the only one without a name.
template <class Reader>
DataArray named_tensor(Reader& reader, const std::string& path, const std::string& name) {
  std::string names;
  bool found = false;
  for (const auto& entry : reader.entries()) {
    found = found || entry.name == name;
    names += (names.empty() ? "" : ", ") + entry.name;
  }
  const bool is_bare = reader.entries().size() == 1 && reader.entries().front().name.empty();
  if (!found && !is_bare) throw DataError(concat(path, ": has no variable \"", name, "\"; it has ", names.empty() ? "none" : names));
  return {name, reader.tensor(found ? name : "")};
}

/// Runs `work`, whose CheckpointErrors are those of a data file here.
template <class Work>
auto as_data_error(Work work) {
  try {
    return work();
  } catch (const CheckpointError& error) {
    throw DataError(error.what());
  }
}

/// Every stride-th element of an axis.
Tensor strided(const Tensor& x, const Shape& stride) {
  Shape shape = x.shape(), strides = x.strides();
  for (int dim = 0; dim < x.rank(); ++dim) {
    shape[dim] = (shape[dim] + stride[dim] - 1) / stride[dim];
    strides[dim] *= stride[dim];
  }
  return Tensor(x.storage(), x.offset(), shape, strides, x.dtype());
}

Shape with_parts(Shape shape) {
  shape.push_back(2);
  return shape;
}

Shape without_last(const Shape& shape) { return shape.rank() == 0 ? Shape{} : Shape(std::vector(shape.begin(), shape.end() - 1)); }

}  // namespace

DataArray::DataArray(Hdf5Dataset dataset)
    : name_(dataset.name()),
      shape_(trident::is_complex(dataset.dtype()) ? with_parts(dataset.shape()) : dataset.shape()),
      is_complex_(trident::is_complex(dataset.dtype())),
      values_(std::move(dataset)) {}

DataArray::DataArray(std::string name, const Tensor& tensor) : name_(std::move(name)), is_complex_(trident::is_complex(tensor.dtype())) {
  const Tensor numbers = is_complex_ ? view::as_real(tensor) : tensor;
  shape_ = numbers.shape();
  values_ = numbers;
}

void DataArray::read(const Shape& start, const Shape& count, float* target, const Shape& stride) const {
  if (const auto* dataset = std::get_if<Hdf5Dataset>(&values_)) {
    if (!is_complex_) return dataset->read(start, count, target, stride);
    return dataset->read(without_last(start), without_last(count), reinterpret_cast<c64*>(target), without_last(stride));
  }
  Tensor block = std::get<Tensor>(values_);
  for (int dim = 0; dim < block.rank(); ++dim) {
    const std::int64_t step = stride.rank() == 0 ? 1 : stride[dim];
    block = view::slice(block, dim, start[dim], start[dim] + (count[dim] - 1) * step + 1);
  }
  if (stride.rank() != 0) block = strided(block, stride);
  copy_into(from_memory(target, count, DType::f32, block.storage()), block);
}

DataFile DataFile::open(const std::string& path) {
  DataFile file(path);
  as_data_error([&] {
    switch (format_of(path)) {
      case Format::hdf5:
        file.array_ = [hdf5 = Hdf5File::open(path)](const std::string& name) { return DataArray(hdf5.dataset(name)); };
        return;
      case Format::numpy:
        file.array_ = [reader = std::make_shared<NumpyReader>(path), path](const std::string& name) {
          return named_tensor(*reader, path, name);
        };
        return;
      case Format::torch:
        file.array_ = [reader = std::make_shared<TorchReader>(path), path](const std::string& name) {
          return named_tensor(*reader, path, name);
        };
        return;
      case Format::safetensors:
        file.array_ = [reader = std::make_shared<SafetensorsReader>(path), path](const std::string& name) {
          return named_tensor(*reader, path, name);
        };
        return;
    }
  });
  return file;
}

DataArray DataFile::array(const std::string& name) const {
  return as_data_error([&] { return array_(name); });
}

}  // namespace trident
