// Variables of HDF5 files: blocks of numbers, read and written.
#include <hdf5.h>

#include <algorithm>
#include <array>
#include <complex>
#include <type_traits>

#include "launch/data/hdf5_file.h"
#include "launch/data/hdf5_object.h"
#include "launch/data/hdf5_pieces.h"
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

template <class T>
void Hdf5Dataset::read(const Shape& start, const Shape& count, T* target, const Shape& stride) const {
  const bool is_block = std::ranges::all_of(stride, [](std::int64_t step) { return step == 1; });
  try {
    if (pieces_ && is_block && DTypeOf<T>::value == dtype_ && pieces_->read(start, count, reinterpret_cast<std::byte*>(target))) return;
  } catch (const DataError& error) {
    throw DataError(concat(object_->path, ": variable \"", name_, "\" cannot be read at ", to_string(start), " (", error.what(),
                           "); check that the file is complete and readable"));
  }
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
