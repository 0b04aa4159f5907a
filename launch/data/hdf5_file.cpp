#include "launch/data/hdf5_file.h"

#include <hdf5.h>
#include <hdf5_hl.h>

#include <algorithm>
#include <array>
#include <complex>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <optional>
#include <type_traits>
#include <utility>

#include "runtime/error.h"

namespace trident {
namespace {

/// Debian's serial HDF5 keeps unguarded global state, so one thread at a time may be inside. The library also prints every error by
/// itself; ours carry its words instead.
class Hdf5Lock {
 public:
  Hdf5Lock() : lock_(mutex()) {
    // Every handle here is closed by its owner. The library's own clean-up at exit would close a file again that a full disk has
    // kept from closing, and crash.
    [[maybe_unused]] static const herr_t no_clean_up_at_exit = H5dont_atexit();
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  }

 private:
  static std::mutex& mutex() {
    static std::mutex instance;
    return instance;
  }
  std::lock_guard<std::mutex> lock_;
};

/// The system's words, where the library carries them among places and numbers of its own.
std::string system_words_of(const std::string& text) {
  constexpr std::string_view kMark = "error message = '";
  const std::size_t begin = text.find(kMark);
  if (begin == std::string::npos) return text;
  return text.substr(begin + kMark.size(), text.find('\'', begin + kMark.size()) - begin - kMark.size());
}

/// The library's innermost description of what failed.
std::string reason() {
  std::string text;
  const auto keep_first = [](unsigned, const H5E_error2_t* error, void* target) -> herr_t {
    auto& result = *static_cast<std::string*>(target);
    if (result.empty() && error->desc != nullptr) result = error->desc;
    return 0;
  };
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_first, &text);
  return text.empty() ? "unknown reason" : system_words_of(text);
}

/// An open object of the library. Made and destroyed under the lock.
class Id {
 public:
  using Close = herr_t (*)(hid_t);
  Id(hid_t id, Close close) : id_(id), close_(close) {}
  Id(Id&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}
  Id& operator=(Id&&) = delete;
  ~Id() { close(); }

  herr_t close() {
    const hid_t id = std::exchange(id_, -1);
    return id < 0 ? 0 : close_(id);
  }
  bool valid() const { return id_ >= 0; }
  hid_t get() const { return id_; }

 private:
  hid_t id_;
  Close close_;
};

template <class T>
inline constexpr bool kIsComplex = false;
template <class T>
inline constexpr bool kIsComplex<std::complex<T>> = true;

/// The type of numbers in memory. `names`: of the two members of a pair, by which the library matches them with the file's.
template <class T>
Id memory_type(const std::array<std::string, 2>& names = {"r", "i"}) {
  if constexpr (kIsComplex<T>) {
    using Part = typename T::value_type;
    Id pair(H5Tcreate(H5T_COMPOUND, sizeof(T)), H5Tclose);
    const Id part = memory_type<Part>();
    for (std::size_t index = 0; index < 2; ++index) H5Tinsert(pair.get(), names[index].c_str(), index * sizeof(Part), part.get());
    return pair;
  } else {
    return {H5Tcopy(std::is_same_v<T, float>    ? H5T_NATIVE_FLOAT
                    : std::is_same_v<T, double> ? H5T_NATIVE_DOUBLE
                                                : H5T_NATIVE_INT64),
            H5Tclose};
  }
}

/// The names of a pair of floating numbers of one size; nothing if the type is none.
std::optional<std::array<std::string, 2>> pair_names(hid_t type) {
  if (H5Tget_class(type) != H5T_COMPOUND || H5Tget_nmembers(type) != 2) return std::nullopt;
  std::array<std::string, 2> names;
  const Id first(H5Tget_member_type(type, 0), H5Tclose), second(H5Tget_member_type(type, 1), H5Tclose);
  if (H5Tget_class(first.get()) != H5T_FLOAT || H5Tequal(first.get(), second.get()) <= 0) return std::nullopt;
  for (unsigned index = 0; index < 2; ++index) {
    char* const name = H5Tget_member_name(type, index);
    names[index] = name;
    H5free_memory(name);
  }
  return names;
}

/// The number type of a variable; nothing if it holds no numbers.
std::optional<DType> number_type(hid_t type) {
  const H5T_class_t kind = H5Tget_class(type);
  if (kind == H5T_INTEGER) return DType::i64;
  if (kind == H5T_FLOAT) return H5Tget_size(type) <= 4 ? DType::f32 : DType::f64;
  if (pair_names(type)) return H5Tget_size(type) <= 8 ? DType::c64 : DType::c128;
  return std::nullopt;
}

std::vector<hsize_t> extents_of(const Shape& shape) { return {shape.begin(), shape.end()}; }

[[noreturn]] void fail(const std::string& path, const std::string& what) {
  throw DataError(
      concat(path, ": ", what, " (", reason(), "); check that the file is complete and readable, or that there is space to write it"));
}

void check(herr_t status, const std::string& path, const std::string& what) {
  if (status < 0) fail(path, what);
}

}  // namespace

/// A file, or a variable that keeps its file open.
struct Hdf5Object {
  Hdf5Object(Id opened, std::string location, std::shared_ptr<Hdf5Object> file)
      : id(std::move(opened)), path(std::move(location)), owner(std::move(file)) {}
  ~Hdf5Object() {
    const Hdf5Lock lock;
    id.close();
  }
  Id id;
  std::string path;
  std::shared_ptr<Hdf5Object> owner;
};

Hdf5File Hdf5File::open(const std::string& path) {
  if (!std::filesystem::exists(path)) throw DataError(concat(path, ": no such file; check the path"));
  if (!std::filesystem::is_regular_file(path)) throw DataError(concat(path, ": is no file of data; check the path"));
  const Hdf5Lock lock;
  const Id access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  // Shared file systems of clusters often have no locks; readers need none.
  H5Pset_file_locking(access.get(), false, true);
  Id id(H5Fopen(path.c_str(), H5F_ACC_RDONLY, access.get()), H5Fclose);
  if (!id.valid()) {
    throw DataError(concat(path, ": not a complete HDF5 or netCDF-4 file of ", std::filesystem::file_size(path), " bytes (", reason(),
                           "); download or generate it again"));
  }
  Hdf5File file;
  file.path_ = path;
  file.object_ = std::make_shared<Hdf5Object>(std::move(id), path, nullptr);
  return file;
}

Hdf5File Hdf5File::create(const std::string& path) {
  const Hdf5Lock lock;
  const Id access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  H5Pset_file_locking(access.get(), false, true);
  const Id creation(H5Pcreate(H5P_FILE_CREATE), H5Pclose);
  // netCDF-4 finds its dimensions and variables by the order of their creation.
  H5Pset_link_creation_order(creation.get(), H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED);
  Id id(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, creation.get(), access.get()), H5Fclose);
  if (!id.valid()) throw DataError(concat(path, ": cannot be created (", reason(), "); check the folder and its permissions"));
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
  check(H5Literate(object_->id.get(), H5_INDEX_NAME, H5_ITER_INC, nullptr, collect, &result), path_, "its contents cannot be listed");
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
  Id id(H5Dopen2(object_->id.get(), name.c_str(), H5P_DEFAULT), H5Dclose);
  if (!id.valid()) fail(path_, concat("variable \"", name, "\" cannot be opened"));
  const Id type(H5Dget_type(id.get()), H5Tclose), space(H5Dget_space(id.get()), H5Sclose);
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
  return result;
}

namespace {

/// The type of numbers in a new file: the same bytes on every machine.
Id stored_type(DType dtype) {
  const bool wide = dtype == DType::f64 || dtype == DType::c128;
  const hid_t part = wide ? H5T_IEEE_F64LE : H5T_IEEE_F32LE;
  if (!is_complex(dtype)) return {H5Tcopy(dtype == DType::i64 ? H5T_STD_I64LE : part), H5Tclose};
  const std::size_t bytes = wide ? 8 : 4;
  Id pair(H5Tcreate(H5T_COMPOUND, 2 * bytes), H5Tclose);
  H5Tinsert(pair.get(), "r", 0, part);
  H5Tinsert(pair.get(), "i", bytes, part);
  return pair;
}

/// netCDF-4 relies on the order of attributes; times of creation are left out so that equal data make equal files.
Id creation_properties() {
  Id properties(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
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
    const Id id(H5Dopen2(file, name, H5P_DEFAULT), H5Dclose);
    const Id type(H5Dget_type(id.get()), H5Tclose);
    std::array<char, 32> mark{};
    if (H5DSis_scale(id.get()) > 0) H5DSget_scale_name(id.get(), mark.data(), mark.size());
    const bool is_dimension = std::string_view(mark.data()).starts_with("This is a netCDF dimension");
    if (number_type(type.get()) && !is_dimension) static_cast<std::vector<std::string>*>(target)->emplace_back(name);
    return 0;
  };
  check(H5Ovisit2(object_->id.get(), H5_INDEX_NAME, H5_ITER_INC, collect, &result, H5O_INFO_BASIC), path_, "its contents cannot be listed");
  return result;
}

Hdf5Dataset Hdf5File::create_dataset(const std::string& name, const Shape& shape, DType dtype, const Shape& chunks) {
  const Hdf5Lock lock;
  const Id type = stored_type(dtype);
  const std::vector<hsize_t> extents = extents_of(shape), chunk_extents = extents_of(chunks);
  const Id space(H5Screate_simple(shape.rank(), extents.data(), nullptr), H5Sclose), creation = creation_properties();
  if (chunks.rank() > 0) H5Pset_chunk(creation.get(), chunks.rank(), chunk_extents.data());
  Id id(H5Dcreate2(object_->id.get(), name.c_str(), type.get(), space.get(), H5P_DEFAULT, creation.get(), H5P_DEFAULT), H5Dclose);
  if (!id.valid()) fail(path_, concat("variable \"", name, "\" cannot be created"));
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
  const Id space(H5Screate_simple(shape.rank(), extents.data(), nullptr), H5Sclose), creation = creation_properties();
  H5Pset_alloc_time(creation.get(), H5D_ALLOC_TIME_EARLY);
  H5Pset_fill_time(creation.get(), H5D_FILL_TIME_NEVER);
  const hid_t type = dtype == DType::f32 ? H5T_IEEE_F32LE : H5T_IEEE_F64LE;
  const Id id(H5Dcreate2(object_->id.get(), name.c_str(), type, space.get(), H5P_DEFAULT, creation.get(), H5P_DEFAULT), H5Dclose);
  if (!id.valid()) fail(path_, concat("variable \"", name, "\" cannot be created"));
  const haddr_t offset = H5Dget_offset(id.get());
  if (offset == HADDR_UNDEF) fail(path_, concat("variable \"", name, "\" gets no place"));
  return offset;
}

void Hdf5File::attach_dimensions(const Hdf5Dataset& dataset, const std::vector<std::string>& dimensions) {
  const Hdf5Lock lock;
  for (std::size_t axis = 0; axis < dimensions.size(); ++axis) {
    const auto extent = static_cast<hsize_t>(dataset.shape()[static_cast<int>(axis)]);
    const Id space(H5Screate_simple(1, &extent, nullptr), H5Sclose), creation = creation_properties();
    const Id scale(
        H5Dcreate2(object_->id.get(), dimensions[axis].c_str(), H5T_IEEE_F32BE, space.get(), H5P_DEFAULT, creation.get(), H5P_DEFAULT),
        H5Dclose);
    // The words by which the netCDF library knows a dimension that has no values; the extent is padded to ten places.
    const std::string digits = std::to_string(extent);
    const std::string padding(10 - std::min<std::size_t>(digits.size(), 10), ' ');
    const std::string mark = "This is a netCDF dimension but not a netCDF variable." + padding + digits;
    const std::string what = concat("dimension \"", dimensions[axis], "\" cannot be written");
    check(H5DSset_scale(scale.get(), mark.c_str()), path_, what);
    const int number = static_cast<int>(axis);
    const Id scalar(H5Screate(H5S_SCALAR), H5Sclose);
    const Id id(H5Acreate2(scale.get(), "_Netcdf4Dimid", H5T_STD_I32LE, scalar.get(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
    check(H5Awrite(id.get(), H5T_NATIVE_INT, &number), path_, what);
    check(H5DSattach_scale(dataset.object_->id.get(), scale.get(), static_cast<unsigned>(axis)), path_, what);
  }
}

void Hdf5File::write_attribute(const std::string& name, const std::string& value) {
  const Hdf5Lock lock;
  const Id type(H5Tcopy(H5T_C_S1), H5Tclose), scalar(H5Screate(H5S_SCALAR), H5Sclose);
  H5Tset_size(type.get(), value.size() + 1);
  const Id id(H5Acreate2(object_->id.get(), name.c_str(), type.get(), scalar.get(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
  check(H5Awrite(id.get(), type.get(), value.c_str()), path_, concat("attribute \"", name, "\" cannot be written"));
}

std::map<std::string, std::string> Hdf5File::attributes() const {
  const Hdf5Lock lock;
  std::map<std::string, std::string> texts;
  const auto collect = [](hid_t file, const char* name, const H5A_info_t*, void* target) -> herr_t {
    const Id id(H5Aopen(file, name, H5P_DEFAULT), H5Aclose);
    const Id type(H5Aget_type(id.get()), H5Tclose), space(H5Aget_space(id.get()), H5Sclose);
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
  check(H5Aiterate2(object_->id.get(), H5_INDEX_NAME, H5_ITER_INC, nullptr, collect, &texts), path_, "its attributes cannot be read");
  return texts;
}

void Hdf5File::close() {
  const Hdf5Lock lock;
  check(H5Fflush(object_->id.get(), H5F_SCOPE_GLOBAL), path_, "cannot be written");
  check(object_->id.close(), path_, "cannot be closed");
}

namespace {

Id block_of(const Id& dataset, const Shape& start, const Shape& count, const std::string& path, const Shape& stride = {}) {
  Id space(H5Dget_space(dataset.get()), H5Sclose);
  if (count.rank() == 0) return space;
  const std::vector<hsize_t> first = extents_of(start), extents = extents_of(count), steps = extents_of(stride);
  check(H5Sselect_hyperslab(space.get(), H5S_SELECT_SET, first.data(), steps.empty() ? nullptr : steps.data(), extents.data(), nullptr),
        path, "a block cannot be selected");
  return space;
}

Id memory_of(const Shape& count) {
  const std::vector<hsize_t> extents = extents_of(count);
  return Id(count.rank() == 0 ? H5Screate(H5S_SCALAR) : H5Screate_simple(count.rank(), extents.data(), nullptr), H5Sclose);
}

}  // namespace

Shape Hdf5Dataset::chunks() const {
  const Hdf5Lock lock;
  const Id creation(H5Dget_create_plist(object_->id.get()), H5Pclose);
  std::array<hsize_t, Shape::kMaxRank> extents{};
  if (H5Pget_layout(creation.get()) != H5D_CHUNKED) return {};
  const int rank = H5Pget_chunk(creation.get(), Shape::kMaxRank, extents.data());
  Shape result;
  for (int dim = 0; dim < rank; ++dim) result.push_back(static_cast<std::int64_t>(extents[static_cast<std::size_t>(dim)]));
  return result;
}

template <class T>
void Hdf5Dataset::read(const Shape& start, const Shape& count, T* target, const Shape& stride) const {
  const Hdf5Lock lock;
  const Id block = block_of(object_->id, start, count, object_->path, stride), memory = memory_of(count);
  const Id stored(H5Dget_type(object_->id.get()), H5Tclose);
  const Id type = memory_type<T>(pair_names(stored.get()).value_or(std::array<std::string, 2>{"r", "i"}));
  if (H5Dread(object_->id.get(), type.get(), memory.get(), block.get(), H5P_DEFAULT, target) < 0) {
    fail(object_->path, concat("variable \"", name_, "\" cannot be read at ", to_string(start)));
  }
}

template <class T>
void Hdf5Dataset::write(const Shape& start, const Shape& count, const T* values) const {
  const Hdf5Lock lock;
  const Id block = block_of(object_->id, start, count, object_->path), memory = memory_of(count), type = memory_type<T>();
  if (H5Dwrite(object_->id.get(), type.get(), memory.get(), block.get(), H5P_DEFAULT, values) < 0) {
    fail(object_->path, concat("variable \"", name_, "\" cannot be written at ", to_string(start)));
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
