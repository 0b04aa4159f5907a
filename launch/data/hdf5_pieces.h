/// The pieces in which the floating numbers of a variable lie in its file, one or its chunks, read past the HDF5 library and its lock by
/// any number of threads at once.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>

#include "launch/data/hdf5_driver.h"
#include "runtime/tensor/dtype.h"

namespace trident {

class Hdf5Pieces {
 public:
  /// Null if only the library can read the variable: numbers of other types than this machine's f32 and f64, files that are being written,
  /// filters other than shuffle and deflate. Under the lock; throws nothing.
  static std::shared_ptr<const Hdf5Pieces> of(const std::shared_ptr<Hdf5Object>& variable, const Shape& shape, DType dtype);

  /// The block of extents `count` at `start`, row-major. False, and `target` as it was, if the library should read it. Throws DataError,
  /// without the names of file and variable.
  bool read(const Shape& start, const Shape& count, std::byte* target) const;

 private:
  struct Run;
  struct Found {
    std::mutex mutex;
    std::unordered_map<std::int64_t, std::optional<Hdf5Place>> places;  // by the chunk's number in row-major order
  };
  Hdf5Pieces() = default;
  bool find_layout();
  bool find_filters(std::int64_t creation);
  std::optional<Hdf5Place> place_of(const Shape& origin) const;
  std::unique_ptr<std::byte[]> numbers_of(const Hdf5Place& place) const;
  void require_size(const Hdf5Place& place, std::int64_t bytes) const;
  Run run_of(const Shape& part, const Shape& count) const;
  template <class Take>
  void for_each_run(const Shape& origin, const Shape& start, const Shape& count, Take take) const;
  void read_piece(const Shape& origin, const Shape& start, const Shape& count, bool by_runs, std::byte* target) const;

  std::shared_ptr<Hdf5Object> variable_;
  int descriptor_ = -1;
  std::int64_t number_bytes_ = 0, piece_bytes_ = 0;
  Shape shape_, extents_;                    // of the variable, of a piece
  std::int64_t offset_ = -1;                 // of the only piece
  std::unique_ptr<Found> found_;             // of chunks, those that were looked up: one takes 3 us under the lock; null: there are none
  std::array<std::byte, 8> fill_{};          // the number of chunks that were never written
  std::uint32_t shuffle_ = 0, deflate_ = 0;  // the filters' bits in Hdf5Place::skipped; 0: not used
};

}  // namespace trident
