#include "launch/data/hdf5_object.h"

#include <hdf5.h>

#include <string_view>

#include "runtime/error.h"

namespace trident {
namespace {

std::mutex& mutex_of_library() {
  static std::mutex instance;
  return instance;
}

/// The system's words, where the library carries them among places and numbers of its own.
std::string system_words_of(const std::string& text) {
  constexpr std::string_view kMark = "error message = '";
  const std::size_t begin = text.find(kMark);
  if (begin == std::string::npos) return text;
  return text.substr(begin + kMark.size(), text.find('\'', begin + kMark.size()) - begin - kMark.size());
}

}  // namespace

Hdf5Lock::Hdf5Lock() : lock_(mutex_of_library()) {
  // Every handle here is closed by its owner. The library's own clean-up at exit would close a file again that a full disk has
  // kept from closing, and crash.
  [[maybe_unused]] static const herr_t no_clean_up_at_exit = H5dont_atexit();
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
}

std::string hdf5_reason() {
  std::string text;
  const auto keep_first = [](unsigned, const H5E_error2_t* error, void* target) -> herr_t {
    auto& result = *static_cast<std::string*>(target);
    if (result.empty() && error->desc != nullptr) result = error->desc;
    return 0;
  };
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_first, &text);
  return text.empty() ? "unknown reason" : system_words_of(text);
}

void fail_hdf5(const std::string& path, const std::string& what) {
  throw DataError(
      concat(path, ": ", what, " (", hdf5_reason(), "); check that the file is complete and readable, or that there is space to write it"));
}

std::optional<std::array<std::string, 2>> hdf5_pair_names(std::int64_t type) {
  if (H5Tget_class(type) != H5T_COMPOUND || H5Tget_nmembers(type) != 2) return std::nullopt;
  std::array<std::string, 2> names;
  const Hdf5Id first(H5Tget_member_type(type, 0), H5Tclose), second(H5Tget_member_type(type, 1), H5Tclose);
  if (H5Tget_class(first.get()) != H5T_FLOAT || H5Tequal(first.get(), second.get()) <= 0) return std::nullopt;
  for (unsigned index = 0; index < 2; ++index) {
    char* const name = H5Tget_member_name(type, index);
    names[index] = name;
    H5free_memory(name);
  }
  return names;
}

}  // namespace trident
