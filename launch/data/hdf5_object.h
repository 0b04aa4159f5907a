/// What HDF5 files and their variables share: the library's lock, its handles, and its words for what failed. For hdf5_file.cpp and
/// hdf5_dataset.cpp alone; handles and status are the library's hid_t and herr_t.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

namespace trident {

/// Debian's serial HDF5 keeps unguarded global state, so one thread at a time may be inside. The library also prints every error by
/// itself; ours carry its words instead.
class Hdf5Lock {
 public:
  Hdf5Lock();

 private:
  std::lock_guard<std::mutex> lock_;
};

/// An open object of the library. Made and destroyed under the lock.
class Hdf5Id {
 public:
  using Close = int (*)(std::int64_t);
  Hdf5Id(std::int64_t id, Close close) : id_(id), close_(close) {}
  Hdf5Id(Hdf5Id&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}
  Hdf5Id& operator=(Hdf5Id&&) = delete;
  ~Hdf5Id() { close(); }

  int close() {
    const std::int64_t id = std::exchange(id_, -1);
    return id < 0 ? 0 : close_(id);
  }
  bool valid() const { return id_ >= 0; }
  std::int64_t get() const { return id_; }

 private:
  std::int64_t id_;
  Close close_;
};

/// A file, or a variable that keeps its file open.
struct Hdf5Object {
  Hdf5Object(Hdf5Id opened, std::string location, std::shared_ptr<Hdf5Object> file)
      : id(std::move(opened)), path(std::move(location)), owner(std::move(file)) {}
  ~Hdf5Object() {
    const Hdf5Lock lock;
    id.close();
  }
  Hdf5Id id;
  std::string path;
  std::shared_ptr<Hdf5Object> owner;
};

/// The library's innermost description of what failed.
std::string hdf5_reason();
/// Throws DataError with it.
[[noreturn]] void fail_hdf5(const std::string& path, const std::string& what);
inline void check_hdf5(int status, const std::string& path, const std::string& what) {
  if (status < 0) fail_hdf5(path, what);
}

/// The names of a pair of floating numbers of one size; nothing if the type is none.
std::optional<std::array<std::string, 2>> hdf5_pair_names(std::int64_t type);

}  // namespace trident
