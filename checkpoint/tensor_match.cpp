#include "checkpoint/tensor_match.h"

#include <algorithm>

#include "runtime/error.h"

namespace trident {
namespace {

bool is_passed_over(std::string_view name) {
  return name.ends_with(".relative_coords_table") || name.ends_with(".relative_position_index");
}

}  // namespace

std::string listed(const std::vector<std::string>& mistakes) {
  constexpr std::size_t kListed = 8;
  std::string lines;
  for (std::size_t i = 0; i < std::min(mistakes.size(), kListed); ++i) lines += "\n  " + mistakes[i];
  if (mistakes.size() > kListed) lines += concat("\n  and ", mistakes.size() - kListed, " more");
  return lines;
}

TensorMatch::TensorMatch(const std::vector<StoredTensor>& stored) : stored_(stored) {
  for (const StoredTensor& tensor : stored) {
    if (!index_.emplace(tensor.name, &tensor).second) mistakes_.push_back(concat("twice: ", tensor.name, ' ', to_string(tensor.shape)));
  }
}

const StoredTensor* TensorMatch::find(const std::string& name, const Shape& shape, DType dtype, std::vector<std::string>* differences) {
  known_.insert(name);
  const auto found = index_.find(name);
  const StoredTensor* stored = found == index_.end() ? nullptr : found->second;
  if (stored == nullptr) {
    mistakes_.push_back(concat("missing: ", name, ' ', to_string(shape)));
  } else if (stored->shape != shape) {
    (differences != nullptr ? *differences : mistakes_)
        .push_back(concat(name, ": ", to_string(stored->shape), " in the file, ", to_string(shape), " in the model"));
    stored = nullptr;
  } else if (!stored->dtype || is_floating(*stored->dtype) != is_floating(dtype) || is_complex(*stored->dtype) != is_complex(dtype)) {
    mistakes_.push_back(concat(name, ": numbers of type ", stored->type, " in the file, ", name_of(dtype), " in the model"));
    stored = nullptr;
  }
  return stored;
}

void TensorMatch::finish(const std::filesystem::path& folder) {
  for (const StoredTensor& stored : stored_) {
    if (!known_.contains(stored.name) && !is_passed_over(stored.name)) {
      mistakes_.push_back(concat("surplus: ", stored.name, ' ', to_string(stored.shape)));
    }
  }
  if (mistakes_.empty()) return;
  throw CheckpointError(concat(folder.string(), ": its tensors are not those that its configuration asks for:", listed(mistakes_),
                               "\ngive the config.json that belongs to the weights"));
}

}  // namespace trident
