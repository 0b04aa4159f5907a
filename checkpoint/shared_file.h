/// One file that several ranks write together, each its places of it: nobody has the whole.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>

#include "checkpoint/box.h"

namespace trident {

class AtomicFile;

/// Appears complete or not at all: until commit() it lies beside its name, and any rank that fails removes it. All functions throw
/// CheckpointError with the path and the system's reason.
class SharedFile {
 public:
  /// Collective. `begin` runs on the first rank alone: it writes what is not written by parts, makes the file as long as it will be, and
  /// throws where it cannot.
  SharedFile(const std::filesystem::path& path, Communicator& ranks, const std::function<void(AtomicFile&)>& begin);
  ~SharedFile();
  SharedFile(const SharedFile&) = delete;
  SharedFile& operator=(const SharedFile&) = delete;

  /// The part `box` of a tensor of `shape` that lies row-major at `offset` (bytes). By any rank, in any order.
  void write(std::uint64_t offset, const Shape& shape, const Box& box, const Tensor& part) const;
  /// Collective. Returns once all parts would survive a loss of power.
  void commit();

 private:
  void write_bytes(std::uint64_t offset, const std::byte* bytes, std::size_t count) const;

  Communicator& ranks_;
  std::unique_ptr<AtomicFile> file_;  // of the first rank
  std::filesystem::path temporary_;
  int descriptor_ = -1;
};

}  // namespace trident
