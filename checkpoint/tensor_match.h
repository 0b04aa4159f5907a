/// Whether a file holds the tensors that a model asks for.
#pragma once

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/weight_files.h"

namespace trident {

/// The first eight, each on an indented line of its own, and how many more there are: of another model nothing fits.
std::string listed(const std::vector<std::string>& mistakes);

/// Compares the tensors of a file with those of a model one by one, and collects what does not fit, for one error.
class TensorMatch {
 public:
  /// Keeps a reference.
  explicit TensorMatch(const std::vector<StoredTensor>& stored);

  /// The stored tensor if it has the shape and the kind of numbers (real, complex, whole); else null. Another shape is a line in
  /// `differences`, if they are given, and no mistake.
  const StoredTensor* find(const std::string& name, const Shape& shape, DType dtype, std::vector<std::string>* differences = nullptr);

  /// Throws CheckpointError unless all that were asked for were found and no other is there. Constants that older versions of the reference
  /// saved with the weights are passed over.
  void finish(const std::filesystem::path& folder);

 private:
  const std::vector<StoredTensor>& stored_;
  std::map<std::string_view, const StoredTensor*> index_;
  std::set<std::string> known_;
  std::vector<std::string> mistakes_;
};

}  // namespace trident
