#include "runtime/tensor/stream_key.h"

#include "runtime/error.h"

namespace trident {

StreamKey StreamKey::at(const std::int64_t* place) {
  StreamKey result;
  result.place_ = place;
  return result;
}

StreamKey StreamKey::fold(std::uint64_t value) const {
  if (place_ == nullptr) return key_.fold(value);
  if (count_ == kMostFolds) throw Error(concat("random numbers: more than ", kMostFolds, " values are folded into a key on a device"));
  StreamKey result = *this;
  result.folded_[static_cast<std::size_t>(result.count_++)] = value;
  return result;
}

StreamKey StreamKey::fold(std::string_view name) const { return fold(hash_of(name)); }

}  // namespace trident
