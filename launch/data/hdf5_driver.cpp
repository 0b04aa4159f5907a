#include "launch/data/hdf5_driver.h"

#include <hdf5.h>

#include <vector>

#include "runtime/error.h"

namespace trident {
namespace {

/// Of the library's driver for plain files.
herr_t (*read_file)(H5FD_t*, H5FD_mem_t, hid_t, haddr_t, std::size_t, void*) = nullptr;

/// Where numbers would have been read from, while it is set. The lock guards it.
std::optional<Hdf5Place>* note = nullptr;

herr_t read_or_note(H5FD_t* file, H5FD_mem_t kind, hid_t properties, haddr_t offset, std::size_t bytes, void* target) {
  if (note == nullptr || kind != H5FD_MEM_DRAW) return read_file(file, kind, properties, offset, bytes, target);
  *note = Hdf5Place{static_cast<std::int64_t>(offset), static_cast<std::int64_t>(bytes)};
  return 0;
}

/// The library's driver for plain files, but for read_or_note. Only an open file shows its functions.
hid_t registered_driver() {
  const Hdf5Id access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  H5Pset_fapl_sec2(access.get());
  H5FD_t* const file = H5FDopen("/dev/null", H5F_ACC_RDONLY, access.get(), HADDR_UNDEF);
  if (file == nullptr) throw DeviceError(concat("the HDF5 library cannot open /dev/null (", hdf5_reason(), "); make it readable"));
  H5FD_class_t functions = *file->cls;
  H5FDclose(file);
  read_file = functions.read;
  functions.read = read_or_note;
  return H5FDregister(&functions);
}

}  // namespace

Hdf5Id hdf5_file_access() {
  static const hid_t driver = registered_driver();
  Hdf5Id access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  // Shared file systems of clusters often have no locks; readers need none.
  H5Pset_file_locking(access.get(), false, true);
  H5Pset_driver(access.get(), driver, nullptr);
  return access;
}

std::optional<Hdf5Place> place_of_chunk(std::int64_t variable, const Shape& origin) {
  const std::vector<hsize_t> first(origin.begin(), origin.end());
  std::optional<Hdf5Place> place;
  std::uint32_t skipped = 0;
  std::byte nothing_is_read{};
  note = &place;
  const herr_t status = H5Dread_chunk(variable, H5P_DEFAULT, first.data(), &skipped, &nothing_is_read);
  note = nullptr;
  if (status < 0) {
    const std::string reason = hdf5_reason();
    haddr_t offset = HADDR_UNDEF;
    hsize_t bytes = 0;
    const bool is_index_whole = H5Dget_chunk_info_by_coord(variable, first.data(), &skipped, &offset, &bytes) >= 0;
    if (is_index_whole && offset == HADDR_UNDEF) return std::nullopt;
    throw DataError(concat("its chunk at ", to_string(origin), " is not found: ", reason));
  }
  if (!place) throw DataError(concat("its chunk at ", to_string(origin), " is empty"));  // and no chunk that was never written
  place->skipped = skipped;
  return place;
}

}  // namespace trident
