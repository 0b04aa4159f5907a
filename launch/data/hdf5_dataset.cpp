// Variables of HDF5 files: blocks of numbers, read and written.
#include <hdf5.h>

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <complex>
#include <cstring>
#include <type_traits>

#include "launch/data/hdf5_file.h"
#include "launch/data/hdf5_object.h"
#include "runtime/error.h"

namespace trident {
namespace {

template <class T>
inline constexpr bool kIsComplex = false;
template <class T>
inline constexpr bool kIsComplex<std::complex<T>> = true;

/// The type of numbers in memory. `names`: of the two members of a pair, by which the library matches them with the file's.
template <class T>
Hdf5Id memory_type(const std::array<std::string, 2>& names = {"r", "i"}) {
  if constexpr (kIsComplex<T>) {
    using Part = typename T::value_type;
    Hdf5Id pair(H5Tcreate(H5T_COMPOUND, sizeof(T)), H5Tclose);
    const Hdf5Id part = memory_type<Part>();
    for (std::size_t index = 0; index < 2; ++index) H5Tinsert(pair.get(), names[index].c_str(), index * sizeof(Part), part.get());
    return pair;
  } else {
    return {H5Tcopy(std::is_same_v<T, float>    ? H5T_NATIVE_FLOAT
                    : std::is_same_v<T, double> ? H5T_NATIVE_DOUBLE
                                                : H5T_NATIVE_INT64),
            H5Tclose};
  }
}

Hdf5Id block_of(const Hdf5Id& dataset, const Shape& start, const Shape& count, const std::string& path, const Shape& stride = {}) {
  Hdf5Id space(H5Dget_space(dataset.get()), H5Sclose);
  if (count.rank() == 0) return space;
  const std::vector<hsize_t> first(start.begin(), start.end()), extents(count.begin(), count.end()), steps(stride.begin(), stride.end());
  check_hdf5(
      H5Sselect_hyperslab(space.get(), H5S_SELECT_SET, first.data(), steps.empty() ? nullptr : steps.data(), extents.data(), nullptr), path,
      "a block cannot be selected");
  return space;
}

Hdf5Id memory_of(const Shape& count) {
  const std::vector<hsize_t> extents(count.begin(), count.end());
  return Hdf5Id(count.rank() == 0 ? H5Screate(H5S_SCALAR) : H5Screate_simple(count.rank(), extents.data(), nullptr), H5Sclose);
}

}  // namespace

Shape Hdf5Dataset::chunks() const {
  const Hdf5Lock lock;
  const Hdf5Id creation(H5Dget_create_plist(object_->id.get()), H5Pclose);
  std::array<hsize_t, Shape::kMaxRank> extents{};
  if (H5Pget_layout(creation.get()) != H5D_CHUNKED) return {};
  const int rank = H5Pget_chunk(creation.get(), Shape::kMaxRank, extents.data());
  Shape result;
  for (int dim = 0; dim < rank; ++dim) result.push_back(static_cast<std::int64_t>(extents[static_cast<std::size_t>(dim)]));
  return result;
}

std::optional<Hdf5Dataset::InFile> Hdf5Dataset::place_in_file() const {
  const hid_t id = object_->id.get();
  const Hdf5Id creation(H5Dget_create_plist(id), H5Pclose), stored(H5Dget_type(id), H5Tclose);
  const hid_t native = dtype_ == DType::f32 ? H5T_NATIVE_FLOAT : H5T_NATIVE_DOUBLE;
  if (is_complex(dtype_) || H5Tequal(stored.get(), native) <= 0) return std::nullopt;
  unsigned intent = H5F_ACC_RDWR;  // what is written may still be in the library's buffers
  H5Fget_intent(object_->owner->id.get(), &intent);
  if (intent != H5F_ACC_RDONLY) return std::nullopt;
  if (H5Pget_layout(creation.get()) != H5D_CONTIGUOUS || H5Pget_external_count(creation.get()) != 0) return std::nullopt;
  const haddr_t offset = H5Dget_offset(id);
  void* descriptor = nullptr;
  if (offset == HADDR_UNDEF || H5Fget_vfd_handle(object_->owner->id.get(), H5P_DEFAULT, &descriptor) < 0) return std::nullopt;
  return InFile{*static_cast<const int*>(descriptor), static_cast<std::int64_t>(offset)};
}

namespace {

/// Bytes of one block of numbers that lie side by side in the file and in memory.
struct Run {
  std::int64_t bytes;
  int outer;  // axes that step from run to run
};

/// The longest runs of a block: its last axes, as far as they are whole, and the axis before them.
Run run_of(const Shape& shape, const Shape& count, std::size_t bytes_of_number) {
  Run run{static_cast<std::int64_t>(bytes_of_number), count.rank()};
  while (run.outer > 0) {
    const int axis = --run.outer;
    run.bytes *= count[axis];
    if (count[axis] != shape[axis]) break;
  }
  return run;
}

/// A file may be written over, or its disk fail, while it is read.
void read_fully(int descriptor, std::byte* target, std::int64_t bytes, std::int64_t offset) {
  while (bytes > 0) {
    const ssize_t got = pread(descriptor, target, static_cast<std::size_t>(bytes), offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw DataError(std::strerror(errno));
    if (got == 0) throw DataError(concat("the file ends at byte ", offset));
    target += got, bytes -= got, offset += got;
  }
}

}  // namespace

void Hdf5Dataset::read_in_file(const Shape& start, const Shape& count, std::byte* target) const {
  const auto bytes_of_number = static_cast<std::int64_t>(size_of(dtype_));
  const Run run = run_of(shape_, count, size_of(dtype_));
  const std::int64_t runs = numel(count) * bytes_of_number / run.bytes;
  try {
    for (std::int64_t index = 0; index < runs; ++index) {
      std::int64_t rest = index, number = 0, step = 1;
      for (int axis = count.rank() - 1; axis >= 0; --axis) {
        const bool steps = axis < run.outer;
        number += (start[axis] + (steps ? rest % count[axis] : 0)) * step;
        if (steps) rest /= count[axis];
        step *= shape_[axis];
      }
      read_fully(in_file_->descriptor, target + index * run.bytes, run.bytes, in_file_->offset + number * bytes_of_number);
    }
  } catch (const DataError& error) {
    throw DataError(concat(object_->path, ": variable \"", name_, "\" cannot be read at ", to_string(start), " (", error.what(), ")"));
  }
}

bool Hdf5Dataset::is_worth_a_call(const Shape& start, const Shape& count, const Shape& stride) const {
  constexpr std::int64_t kShortest = 4096;  // bytes of a run; the library gathers shorter ones in a buffer
  bool is_block = std::ranges::all_of(stride, [](std::int64_t step) { return step == 1; });
  for (int axis = 0; axis < count.rank(); ++axis)
    is_block = is_block && start[axis] >= 0 && count[axis] > 0 && start[axis] + count[axis] <= shape_[axis];
  return is_block && run_of(shape_, count, size_of(dtype_)).bytes >= kShortest;
}

template <class T>
void Hdf5Dataset::read(const Shape& start, const Shape& count, T* target, const Shape& stride) const {
  if (in_file_ && DTypeOf<T>::value == dtype_ && is_worth_a_call(start, count, stride))
    return read_in_file(start, count, reinterpret_cast<std::byte*>(target));
  const Hdf5Lock lock;
  const Hdf5Id block = block_of(object_->id, start, count, object_->path, stride), memory = memory_of(count);
  const Hdf5Id stored(H5Dget_type(object_->id.get()), H5Tclose);
  const Hdf5Id type = memory_type<T>(hdf5_pair_names(stored.get()).value_or(std::array<std::string, 2>{"r", "i"}));
  if (H5Dread(object_->id.get(), type.get(), memory.get(), block.get(), H5P_DEFAULT, target) < 0) {
    fail_hdf5(object_->path, concat("variable \"", name_, "\" cannot be read at ", to_string(start)));
  }
}

template <class T>
void Hdf5Dataset::write(const Shape& start, const Shape& count, const T* values) const {
  const Hdf5Lock lock;
  const Hdf5Id block = block_of(object_->id, start, count, object_->path), memory = memory_of(count), type = memory_type<T>();
  if (H5Dwrite(object_->id.get(), type.get(), memory.get(), block.get(), H5P_DEFAULT, values) < 0) {
    fail_hdf5(object_->path, concat("variable \"", name_, "\" cannot be written at ", to_string(start)));
  }
}

template void Hdf5Dataset::read(const Shape&, const Shape&, float*, const Shape&) const;
template void Hdf5Dataset::read(const Shape&, const Shape&, double*, const Shape&) const;
template void Hdf5Dataset::read(const Shape&, const Shape&, std::int64_t*, const Shape&) const;
template void Hdf5Dataset::read(const Shape&, const Shape&, c64*, const Shape&) const;
template void Hdf5Dataset::read(const Shape&, const Shape&, c128*, const Shape&) const;
template void Hdf5Dataset::write(const Shape&, const Shape&, const float*) const;
template void Hdf5Dataset::write(const Shape&, const Shape&, const double*) const;
template void Hdf5Dataset::write(const Shape&, const Shape&, const c64*) const;
template void Hdf5Dataset::write(const Shape&, const Shape&, const c128*) const;

}  // namespace trident
