#include "checkpoint/shared_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "checkpoint/atomic_file.h"
#include "parallel/messages.h"
#include "runtime/error.h"
#include "runtime/tensor/copy.h"

namespace trident {
namespace {

[[noreturn]] void fail(const std::filesystem::path& path, const char* action) {
  throw CheckpointError(concat(path.string(), ": cannot ", action, " it (", std::strerror(errno),
                               "); nothing was changed; see that all ranks ",
                               "reach its folder and that there is space on the file system"));
}

/// From which axis on `box` spans whole axes, so that what lies behind it is one run of memory.
int first_whole_axis(const Shape& shape, const Box& box) {
  int axis = shape.rank();
  while (axis > 0 && box[static_cast<std::size_t>(axis - 1)].size() == shape[axis - 1]) --axis;
  return axis;
}

}  // namespace

SharedFile::SharedFile(const std::filesystem::path& path, Communicator& ranks, const std::function<void(AtomicFile&)>& begin)
    : ranks_(ranks) {
  if (ranks.rank() == 0) {
    file_ = std::make_unique<AtomicFile>(path);
    begin(*file_);
    temporary_ = file_->temporary();
  }
  temporary_ = broadcast_text(ranks, temporary_.string(), 0);
  descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CLOEXEC);
  if (descriptor_ < 0) fail(temporary_, "open");
}

SharedFile::~SharedFile() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  ::unlink(temporary_.c_str());
}

void SharedFile::write_bytes(std::uint64_t offset, const std::byte* bytes, std::size_t count) const {
  constexpr std::size_t kLargestWrite = std::size_t{1} << 30;  // Linux writes at most 2 GiB a call
  while (count > 0) {
    const ssize_t written = ::pwrite(descriptor_, bytes, std::min(count, kLargestWrite), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail(temporary_, "write");
    bytes += written;
    offset += static_cast<std::uint64_t>(written);
    count -= static_cast<std::size_t>(written);
  }
}

void SharedFile::write(std::uint64_t offset, const Shape& shape, const Box& box, const Tensor& part) const {
  const Tensor values = packed(part);
  const std::size_t number = size_of(values.dtype());
  const int whole = std::max(first_whole_axis(shape, box) - 1, 0);  // along this axis the rows of a run follow each other
  std::int64_t run = 1, runs = 1;
  for (int axis = 0; axis < shape.rank(); ++axis) (axis < whole ? runs : run) *= box[static_cast<std::size_t>(axis)].size();
  if (run == 0) return;
  const auto* bytes = static_cast<const std::byte*>(values.bytes());
  const std::size_t run_bytes = static_cast<std::size_t>(run) * number;
  for (std::int64_t index = 0; index < runs; ++index, bytes += run_bytes) {
    std::int64_t rest = index, place = 0, stride = 1;
    for (int axis = shape.rank() - 1; axis >= 0; --axis) {
      const Range& range = box[static_cast<std::size_t>(axis)];
      std::int64_t at = range.first;
      if (axis < whole) {
        at += rest % range.size();
        rest /= range.size();
      }
      place += at * stride;
      stride *= shape[axis];
    }
    write_bytes(offset + static_cast<std::uint64_t>(place) * number, bytes, run_bytes);
  }
}

void SharedFile::commit() {
  if (::fsync(descriptor_) != 0) fail(temporary_, "fsync");
  barrier(ranks_);  // every rank has written and synchronised its parts
  if (file_) file_->commit();
  barrier(ranks_);
  ::close(descriptor_);
  descriptor_ = -1;
}

}  // namespace trident
