#include "launch/data/hdf5_file.h"

#include <hdf5.h>
#include <hdf5_hl.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <optional>
#include <utility>

#include "launch/data/hdf5_driver.h"
#include "launch/data/hdf5_object.h"
#include "launch/data/hdf5_pieces.h"
#include "runtime/error.h"

namespace trident {
namespace {

/// The number type of a variable; nothing if it holds no numbers.
std::optional<DType> number_type(hid_t type) {
  const H5T_class_t kind = H5Tget_class(type);
  if (kind == H5T_INTEGER) return DType::i64;
  if (kind == H5T_FLOAT) return H5Tget_size(type) <= 4 ? DType::f32 : DType::f64;
  if (hdf5_pair_names(type)) return H5Tget_size(type) <= 8 ? DType::c64 : DType::c128;
  return std::nullopt;
}

std::vector<hsize_t> extents_of(const Shape& shape) { return {shape.begin(), shape.end()}; }

}  // namespace

Hdf5File Hdf5File::open(const std::string& path) {
  if (!std::filesystem::exists(path)) throw DataError(concat(path, ": no such file; check the path"));
  if (!std::filesystem::is_regular_file(path)) throw DataError(concat(path, ": is no file of data; check the path"));
  const Hdf5Lock lock;
  const Hdf5Id access = hdf5_file_access();
  Hdf5Id id(H5Fopen(path.c_str(), H5F_ACC_RDONLY, access.get()), H5Fclose);
  if (!id.valid()) {
    throw DataError(concat(path, ": not a complete HDF5 or netCDF-4 file of ", std::filesystem::file_size(path), " bytes (", hdf5_reason(),
                           "); download or generate it again"));
  }
  Hdf5File file;
  file.path_ = path;
  file.object_ = std::make_shared<Hdf5Object>(std::move(id), path, nullptr);
  return file;
}

Hdf5File Hdf5File::create(const std::string& path) {
  const Hdf5Lock lock;
  const Hdf5Id access = hdf5_file_access(), creation(H5Pcreate(H5P_FILE_CREATE), H5Pclose);
  // netCDF-4 finds its dimensions and variables by the order of their creation.
  H5Pset_link_creation_order(creation.get(), H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED);
  Hdf5Id id(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, creation.get(), access.get()), H5Fclose);
  if (!id.valid()) throw DataError(concat(path, ": cannot be created (", hdf5_reason(), "); check the folder and its permissions"));
  Hdf5File file;
  file.path_ = path;
  file.object_ = std::make_shared<Hdf5Object>(std::move(id), path, nullptr);
  return file;
}

std::vector<std::string> Hdf5File::names() const {
  const Hdf5Lock lock;
  std::vector<std::string> result;
  const auto collect = [](hid_t, const char* name, const H5L_info_t*, void* target) -> herr_t {
    static_cast<std::vector<std::string>*>(target)->emplace_back(name);
    return 0;
  };
  check_hdf5(H5Literate(object_->id.get(), H5_INDEX_NAME, H5_ITER_INC, nullptr, collect, &result), path_, "its contents cannot be listed");
  return result;
}

bool Hdf5File::contains(const std::string& name) const {
  const Hdf5Lock lock;
  // The library insists that every group on the way exists.
  for (std::size_t slash = name.find('/'); slash != std::string::npos; slash = name.find('/', slash + 1)) {
    if (H5Lexists(object_->id.get(), name.substr(0, slash).c_str(), H5P_DEFAULT) <= 0) return false;
  }
  return H5Lexists(object_->id.get(), name.c_str(), H5P_DEFAULT) > 0;
}

namespace {

std::string listed(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) {
    if (text.size() > 200) return text + ", ...";
    text += (text.empty() ? "" : ", ") + name;
  }
  return text.empty() ? "nothing" : text;
}

}  // namespace

Hdf5Dataset Hdf5File::dataset(const std::string& name) const {
  if (!contains(name)) {
    throw DataError(concat(path_, ": has no variable \"", name, "\", but ", listed(names()), "; check the problem and the file"));
  }
  const Hdf5Lock lock;
  Hdf5Id id(H5Dopen2(object_->id.get(), name.c_str(), H5P_DEFAULT), H5Dclose);
  if (!id.valid()) fail_hdf5(path_, concat("variable \"", name, "\" cannot be opened"));
  const Hdf5Id type(H5Dget_type(id.get()), H5Tclose), space(H5Dget_space(id.get()), H5Sclose);
  const std::optional<DType> dtype = number_type(type.get());
  const int rank = H5Sget_simple_extent_ndims(space.get());
  if (!dtype || rank < 0 || rank > Shape::kMaxRank) {
    throw DataError(concat(path_, ": variable \"", name, "\" is not an array of numbers with at most ", Shape::kMaxRank, " axes"));
  }
  std::array<hsize_t, Shape::kMaxRank> extents{};
  H5Sget_simple_extent_dims(space.get(), extents.data(), nullptr);
  Hdf5Dataset result;
  for (int dim = 0; dim < rank; ++dim) result.shape_.push_back(static_cast<std::int64_t>(extents[static_cast<std::size_t>(dim)]));
  result.dtype_ = *dtype;
  result.name_ = name;
  result.object_ = std::make_shared<Hdf5Object>(std::move(id), path_, object_);
  result.pieces_ = Hdf5Pieces::of(result.object_, result.shape_, result.dtype_);
  return result;
}

namespace {

/// The type of numbers in a new file: the same bytes on every machine.
Hdf5Id stored_type(DType dtype) {
  const bool wide = dtype == DType::f64 || dtype == DType::c128;
  const hid_t part = wide ? H5T_IEEE_F64LE : H5T_IEEE_F32LE;
  if (!is_complex(dtype)) return {H5Tcopy(dtype == DType::i64 ? H5T_STD_I64LE : part), H5Tclose};
  const std::size_t bytes = wide ? 8 : 4;
  Hdf5Id pair(H5Tcreate(H5T_COMPOUND, 2 * bytes), H5Tclose);
  H5Tinsert(pair.get(), "r", 0, part);
  H5Tinsert(pair.get(), "i", bytes, part);
  return pair;
}

/// netCDF-4 relies on the order of attributes; times of creation are left out so that equal data make equal files.
Hdf5Id creation_properties() {
  Hdf5Id properties(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  H5Pset_attr_creation_order(properties.get(), H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED);
  H5Pset_obj_track_times(properties.get(), false);
  return properties;
}

}  // namespace

std::vector<std::string> Hdf5File::variables() const {
  const Hdf5Lock lock;
  std::vector<std::string> result;
  const auto collect = [](hid_t file, const char* name, const H5O_info_t* info, void* target) -> herr_t {
    if (info->type != H5O_TYPE_DATASET) return 0;
    const Hdf5Id id(H5Dopen2(file, name, H5P_DEFAULT), H5Dclose);
    const Hdf5Id type(H5Dget_type(id.get()), H5Tclose);
    std::array<char, 32> mark{};
    if (H5DSis_scale(id.get()) > 0) H5DSget_scale_name(id.get(), mark.data(), mark.size());
    const bool is_dimension = std::string_view(mark.data()).starts_with("This is a netCDF dimension");
    if (number_type(type.get()) && !is_dimension) static_cast<std::vector<std::string>*>(target)->emplace_back(name);
    return 0;
  };
  check_hdf5(H5Ovisit2(object_->id.get(), H5_INDEX_NAME, H5_ITER_INC, collect, &result, H5O_INFO_BASIC), path_,
             "its contents cannot be listed");
  return result;
}

Hdf5Dataset Hdf5File::create_dataset(const std::string& name, const Shape& shape, DType dtype, const Shape& chunks) {
  const Hdf5Lock lock;
  const Hdf5Id type = stored_type(dtype);
  const std::vector<hsize_t> extents = extents_of(shape), chunk_extents = extents_of(chunks);
  const Hdf5Id space(H5Screate_simple(shape.rank(), extents.data(), nullptr), H5Sclose), creation = creation_properties();
  if (chunks.rank() > 0) H5Pset_chunk(creation.get(), chunks.rank(), chunk_extents.data());
  Hdf5Id id(H5Dcreate2(object_->id.get(), name.c_str(), type.get(), space.get(), H5P_DEFAULT, creation.get(), H5P_DEFAULT), H5Dclose);
  if (!id.valid()) fail_hdf5(path_, concat("variable \"", name, "\" cannot be created"));
  Hdf5Dataset result;
  result.shape_ = shape;
  result.dtype_ = dtype;
  result.name_ = name;
  result.object_ = std::make_shared<Hdf5Object>(std::move(id), path_, object_);
  return result;
}

std::uint64_t Hdf5File::reserve_dataset(const std::string& name, const Shape& shape, DType dtype) {
  const Hdf5Lock lock;
  const std::vector<hsize_t> extents = extents_of(shape);
  const Hdf5Id space(H5Screate_simple(shape.rank(), extents.data(), nullptr), H5Sclose), creation = creation_properties();
  H5Pset_alloc_time(creation.get(), H5D_ALLOC_TIME_EARLY);
  H5Pset_fill_time(creation.get(), H5D_FILL_TIME_NEVER);
  const hid_t type = dtype == DType::f32 ? H5T_IEEE_F32LE : H5T_IEEE_F64LE;
  const Hdf5Id links(H5Pcreate(H5P_LINK_CREATE), H5Pclose);
  H5Pset_create_intermediate_group(links.get(), 1);
  const Hdf5Id id(H5Dcreate2(object_->id.get(), name.c_str(), type, space.get(), links.get(), creation.get(), H5P_DEFAULT), H5Dclose);
  if (!id.valid()) fail_hdf5(path_, concat("variable \"", name, "\" cannot be created"));
  const haddr_t offset = H5Dget_offset(id.get());
  if (offset == HADDR_UNDEF) fail_hdf5(path_, concat("variable \"", name, "\" gets no place"));
  return offset;
}

void Hdf5File::attach_dimensions(const Hdf5Dataset& dataset, const std::vector<std::string>& dimensions) {
  const Hdf5Lock lock;
  for (std::size_t axis = 0; axis < dimensions.size(); ++axis) {
    const auto extent = static_cast<hsize_t>(dataset.shape()[static_cast<int>(axis)]);
    const Hdf5Id space(H5Screate_simple(1, &extent, nullptr), H5Sclose), creation = creation_properties();
    const Hdf5Id scale(
        H5Dcreate2(object_->id.get(), dimensions[axis].c_str(), H5T_IEEE_F32BE, space.get(), H5P_DEFAULT, creation.get(), H5P_DEFAULT),
        H5Dclose);
    // The words by which the netCDF library knows a dimension that has no values; the extent is padded to ten places.
    const std::string digits = std::to_string(extent);
    const std::string padding(10 - std::min<std::size_t>(digits.size(), 10), ' ');
    const std::string mark = "This is a netCDF dimension but not a netCDF variable." + padding + digits;
    const std::string what = concat("dimension \"", dimensions[axis], "\" cannot be written");
    check_hdf5(H5DSset_scale(scale.get(), mark.c_str()), path_, what);
    const int number = static_cast<int>(axis);
    const Hdf5Id scalar(H5Screate(H5S_SCALAR), H5Sclose);
    const Hdf5Id id(H5Acreate2(scale.get(), "_Netcdf4Dimid", H5T_STD_I32LE, scalar.get(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
    check_hdf5(H5Awrite(id.get(), H5T_NATIVE_INT, &number), path_, what);
    check_hdf5(H5DSattach_scale(dataset.object_->id.get(), scale.get(), static_cast<unsigned>(axis)), path_, what);
  }
}

void Hdf5File::write_attribute(const std::string& name, const std::string& value) {
  const Hdf5Lock lock;
  const Hdf5Id type(H5Tcopy(H5T_C_S1), H5Tclose), scalar(H5Screate(H5S_SCALAR), H5Sclose);
  H5Tset_size(type.get(), value.size() + 1);
  const Hdf5Id id(H5Acreate2(object_->id.get(), name.c_str(), type.get(), scalar.get(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
  check_hdf5(H5Awrite(id.get(), type.get(), value.c_str()), path_, concat("attribute \"", name, "\" cannot be written"));
}

std::map<std::string, std::string> Hdf5File::attributes() const {
  const Hdf5Lock lock;
  std::map<std::string, std::string> texts;
  const auto collect = [](hid_t file, const char* name, const H5A_info_t*, void* target) -> herr_t {
    const Hdf5Id id(H5Aopen(file, name, H5P_DEFAULT), H5Aclose);
    const Hdf5Id type(H5Aget_type(id.get()), H5Tclose), space(H5Aget_space(id.get()), H5Sclose);
    if (H5Tget_class(type.get()) != H5T_STRING || H5Sget_simple_extent_npoints(space.get()) != 1) return 0;
    std::string& text = (*static_cast<std::map<std::string, std::string>*>(target))[name];
    if (H5Tis_variable_str(type.get()) > 0) {
      char* value = nullptr;
      if (H5Aread(id.get(), type.get(), &value) < 0) return -1;
      if (value != nullptr) text = value;
      H5free_memory(value);
    } else {
      text.resize(H5Tget_size(type.get()));
      if (H5Aread(id.get(), type.get(), text.data()) < 0) return -1;
      text.resize(std::strlen(text.c_str()));  // what fills the rest is the writer's affair
    }
    return 0;
  };
  check_hdf5(H5Aiterate2(object_->id.get(), H5_INDEX_NAME, H5_ITER_INC, nullptr, collect, &texts), path_, "its attributes cannot be read");
  return texts;
}

void Hdf5File::close() {
  const Hdf5Lock lock;
  check_hdf5(H5Fflush(object_->id.get(), H5F_SCOPE_GLOBAL), path_, "cannot be written");
  check_hdf5(object_->id.close(), path_, "cannot be closed");
}

}  // namespace trident
