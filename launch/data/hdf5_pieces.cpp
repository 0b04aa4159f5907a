#include "launch/data/hdf5_pieces.h"

#include <hdf5.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <functional>
#include <numeric>

#include "runtime/error.h"

namespace trident {
namespace {

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

std::unique_ptr<std::byte[]> buffer_of(std::int64_t bytes) {
  return std::make_unique_for_overwrite<std::byte[]>(static_cast<std::size_t>(bytes));
}

/// Undoes the filter that puts the first bytes of all numbers side by side, then the second ones, and so on.
template <int kBytes>
void unshuffle(const std::byte* __restrict shuffled, std::int64_t count, std::byte* __restrict numbers) {
  for (std::int64_t index = 0; index < count; ++index) {
    for (int byte = 0; byte < kBytes; ++byte) numbers[index * kBytes + byte] = shuffled[byte * count + index];
  }
}

}  // namespace

std::shared_ptr<const Hdf5Pieces> Hdf5Pieces::of(const std::shared_ptr<Hdf5Object>& variable, const Shape& shape, DType dtype) {
  const hid_t id = variable->id.get(), file = variable->owner->id.get();
  const Hdf5Id stored(H5Dget_type(id), H5Tclose);
  const hid_t native = dtype == DType::f32 ? H5T_NATIVE_FLOAT : H5T_NATIVE_DOUBLE;
  if (is_complex(dtype) || H5Tequal(stored.get(), native) <= 0) return nullptr;
  unsigned intent = H5F_ACC_RDWR;  // what is written may still be in the library's buffers
  H5Fget_intent(file, &intent);
  void* descriptor = nullptr;
  if (intent != H5F_ACC_RDONLY || H5Fget_vfd_handle(file, H5P_DEFAULT, &descriptor) < 0) return nullptr;
  Hdf5Pieces pieces;
  pieces.variable_ = variable;
  pieces.descriptor_ = *static_cast<const int*>(descriptor);
  pieces.number_bytes_ = static_cast<std::int64_t>(size_of(dtype));
  pieces.shape_ = shape;
  return pieces.find_layout() ? std::make_shared<const Hdf5Pieces>(std::move(pieces)) : nullptr;
}

bool Hdf5Pieces::find_layout() {
  const hid_t id = variable_->id.get();
  const Hdf5Id creation(H5Dget_create_plist(id), H5Pclose);
  if (H5Pget_layout(creation.get()) == H5D_CHUNKED) {
    std::array<hsize_t, Shape::kMaxRank> extents{};
    if (H5Pget_chunk(creation.get(), Shape::kMaxRank, extents.data()) != shape_.rank() || !find_filters(creation.get())) return false;
    for (int axis = 0; axis < shape_.rank(); ++axis) extents_.push_back(static_cast<std::int64_t>(extents[static_cast<std::size_t>(axis)]));
    H5Pget_fill_value(creation.get(), number_bytes_ == 4 ? H5T_NATIVE_FLOAT : H5T_NATIVE_DOUBLE, fill_.data());
    found_ = std::make_unique<Found>();
  } else {
    const bool in_file = H5Pget_layout(creation.get()) == H5D_CONTIGUOUS && H5Pget_external_count(creation.get()) == 0;
    offset_ = static_cast<std::int64_t>(H5Dget_offset(id));
    if (!in_file || offset_ < 0) return false;
    extents_ = shape_;
  }
  // A damaged file may claim any place and extents.
  const auto bytes_of = [&](const Shape& extents) {
    return std::accumulate(extents.begin(), extents.end(), static_cast<double>(number_bytes_), std::multiplies<>());
  };
  constexpr double kMost = 0x1p62, kMostOfChunk = 0x1p32;
  if (static_cast<double>(offset_) > kMost || bytes_of(shape_) > kMost || bytes_of(extents_) > (found_ ? kMostOfChunk : kMost))
    return false;
  piece_bytes_ = static_cast<std::int64_t>(bytes_of(extents_));
  return piece_bytes_ > 0;
}

/// Those that netCDF-4 applies by itself are undone here; the checksums of fletcher32 and what needs plug-ins are left to the library.
bool Hdf5Pieces::find_filters(std::int64_t creation) {
  unsigned options = 0;  // chunks at the border can be without filters, and do not say so
  const int filters = H5Pget_nfilters(creation);
  if (filters < 0 || H5Pget_chunk_opts(creation, &options) < 0 || options != 0) return false;
  for (int index = 0; index < filters; ++index) {
    std::size_t values = 0;
    unsigned flags = 0, configuration = 0;
    const H5Z_filter_t filter =
        H5Pget_filter2(creation, static_cast<unsigned>(index), &flags, &values, nullptr, 0, nullptr, &configuration);
    const std::uint32_t bit = 1U << index;
    if (filter == H5Z_FILTER_SHUFFLE && index == 0) {
      shuffle_ = bit;
    } else if (filter == H5Z_FILTER_DEFLATE && index == filters - 1 && index < 2) {
      deflate_ = bit;
    } else {
      return false;
    }
  }
  return true;
}

std::optional<Hdf5Place> Hdf5Pieces::place_of(const Shape& origin) const {
  if (!found_) return Hdf5Place{offset_, piece_bytes_};
  std::int64_t number = 0;
  for (int axis = 0; axis < shape_.rank(); ++axis)
    number = number * ((shape_[axis] - 1) / extents_[axis] + 1) + origin[axis] / extents_[axis];
  {
    const std::lock_guard lock(found_->mutex);
    const auto known = found_->places.find(number);
    if (known != found_->places.end()) return known->second;
  }
  std::optional<Hdf5Place> place;
  {
    const Hdf5Lock lock;
    place = place_of_chunk(variable_->id.get(), origin);
  }
  const std::lock_guard lock(found_->mutex);
  found_->places.emplace(number, place);
  return place;
}

/// The bytes of a whole piece, as its numbers have them in memory.
std::unique_ptr<std::byte[]> Hdf5Pieces::numbers_of(const Hdf5Place& place) const {
  auto bytes = buffer_of(place.bytes);
  read_fully(descriptor_, bytes.get(), place.bytes, place.offset);
  auto size = static_cast<uLongf>(place.bytes);
  if ((deflate_ & ~place.skipped) != 0) {
    auto inflated = buffer_of(piece_bytes_);
    size = static_cast<uLongf>(piece_bytes_);
    const int status = uncompress(reinterpret_cast<Bytef*>(inflated.get()), &size, reinterpret_cast<const Bytef*>(bytes.get()),
                                  static_cast<uLong>(place.bytes));
    if (status != Z_OK) throw DataError(concat("its chunk at byte ", place.offset, " of the file cannot be inflated"));
    bytes = std::move(inflated);
  }
  require_size(place, static_cast<std::int64_t>(size));
  if ((shuffle_ & ~place.skipped) != 0) {
    auto numbers = buffer_of(piece_bytes_);
    (number_bytes_ == 4 ? unshuffle<4> : unshuffle<8>)(bytes.get(), piece_bytes_ / number_bytes_, numbers.get());
    bytes = std::move(numbers);
  }
  return bytes;
}

void Hdf5Pieces::require_size(const Hdf5Place& place, std::int64_t bytes) const {
  if (bytes == piece_bytes_) return;
  throw DataError(concat("its chunk at byte ", place.offset, " of the file has ", bytes, " bytes, expected ", piece_bytes_));
}

/// Bytes that lie side by side in a piece and in a block.
struct Hdf5Pieces::Run {
  std::int64_t bytes;
  int outer;  // axes that step from run to run
};

/// The longest runs of a part that a piece and a block of extents `count` share: its last axes, as far as they are whole in both, and the
/// axis before them.
Hdf5Pieces::Run Hdf5Pieces::run_of(const Shape& part, const Shape& count) const {
  Run run{number_bytes_, part.rank()};
  while (run.outer > 0) {
    const int axis = --run.outer;
    run.bytes *= part[axis];
    if (part[axis] != extents_[axis] || part[axis] != count[axis]) break;
  }
  return run;
}

/// Calls take(bytes from the beginning of the piece, bytes from that of the block, bytes) for all that the piece at `origin` and the block
/// share.
template <class Take>
void Hdf5Pieces::for_each_run(const Shape& origin, const Shape& start, const Shape& count, Take take) const {
  Shape first, part;
  for (int axis = 0; axis < shape_.rank(); ++axis) {
    first.push_back(std::max(start[axis], origin[axis]));
    part.push_back(std::min(start[axis] + count[axis], origin[axis] + extents_[axis]) - first[axis]);
  }
  const Run run = run_of(part, count);
  const std::int64_t runs = numel(part) * number_bytes_ / run.bytes;
  for (std::int64_t index = 0; index < runs; ++index) {
    std::int64_t rest = index, in_piece = 0, in_block = 0, piece_step = number_bytes_, block_step = number_bytes_;
    for (int axis = part.rank() - 1; axis >= 0; --axis) {
      const bool steps = axis < run.outer;
      const std::int64_t at = first[axis] + (steps ? rest % part[axis] : 0);
      if (steps) rest /= part[axis];
      in_piece += (at - origin[axis]) * piece_step, in_block += (at - start[axis]) * block_step;
      piece_step *= extents_[axis], block_step *= count[axis];
    }
    take(in_piece, in_block, run.bytes);
  }
}

/// What the piece at `origin` has of the block: run by run, or as a whole and then copied.
void Hdf5Pieces::read_piece(const Shape& origin, const Shape& start, const Shape& count, bool by_runs, std::byte* target) const {
  const std::optional<Hdf5Place> place = place_of(origin);
  std::unique_ptr<std::byte[]> numbers;
  if (place && by_runs) require_size(*place, place->bytes);
  if (place && !by_runs) numbers = numbers_of(*place);
  for_each_run(origin, start, count, [&](std::int64_t in_piece, std::int64_t in_block, std::int64_t bytes) {
    if (!place) {
      for (std::int64_t at = 0; at < bytes; at += number_bytes_)
        std::memcpy(target + in_block + at, fill_.data(), static_cast<std::size_t>(number_bytes_));
    } else if (by_runs) {
      read_fully(descriptor_, target + in_block, bytes, place->offset + in_piece);
    } else {
      std::memcpy(target + in_block, numbers.get() + in_piece, static_cast<std::size_t>(bytes));
    }
  });
}

bool Hdf5Pieces::read(const Shape& start, const Shape& count, std::byte* target) const {
  constexpr std::int64_t kShortest = 4096;  // bytes of a run that are worth a call
  Shape first, pieces, part;                // the pieces that the block meets, and what it has of one of them
  std::int64_t met = 1;                     // numbers of those pieces
  for (int axis = 0; axis < shape_.rank(); ++axis) {
    if (start[axis] < 0 || count[axis] <= 0 || start[axis] > shape_[axis] - count[axis]) return false;
    first.push_back(start[axis] / extents_[axis]);
    const std::int64_t past_last = (start[axis] + count[axis] - 1) / extents_[axis] + 1;
    pieces.push_back(past_last - first[axis]);
    part.push_back(std::min(count[axis], extents_[axis]));
    met *= std::min(past_last * extents_[axis], shape_[axis]) - first[axis] * extents_[axis];
  }
  const std::int64_t run_bytes = run_of(part, count).bytes;
  const bool by_runs = shuffle_ == 0 && deflate_ == 0 && (run_bytes >= kShortest || run_bytes == numel(part) * number_bytes_);
  // Else pieces are read as a whole. Where most of them would be thrown away the library is better: it keeps chunks for the next call.
  if (!by_runs && 2 * numel(count) < met) return false;
  for (std::int64_t index = 0; index < numel(pieces); ++index) {
    Shape origin = first;
    std::int64_t rest = index;
    for (int axis = shape_.rank() - 1; axis >= 0; rest /= pieces[axis], --axis)
      origin[axis] = (first[axis] + rest % pieces[axis]) * extents_[axis];
    read_piece(origin, start, count, by_runs, target);
  }
  return true;
}

}  // namespace trident
