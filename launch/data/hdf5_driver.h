/// How files are opened, and where their chunks lie. The library's own call for that walks the whole index of a variable (8 ms with 200,000
/// chunks); to read a chunk it looks it up, and asks its file driver for the bytes: ours notes what was asked for.
#pragma once

#include <cstdint>
#include <optional>

#include "launch/data/hdf5_object.h"
#include "runtime/tensor/shape.h"

namespace trident {

/// Bytes of a file, from its very beginning, that hold one piece of a variable.
struct Hdf5Place {
  std::int64_t offset;
  std::int64_t bytes;
  std::uint32_t skipped = 0;  // a bit for each filter that the writer did not apply
};

/// The properties with which every file is opened or created. Under the lock.
Hdf5Id hdf5_file_access();

/// The chunk of an open variable that begins at `origin`; nothing if it was never written. Under the lock. Throws DataError, without the
/// names of file and variable.
std::optional<Hdf5Place> place_of_chunk(std::int64_t variable, const Shape& origin);

}  // namespace trident
