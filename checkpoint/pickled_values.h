/// What is no tensor in a pickle, as a document: settings of a model, state of a schedule.
#pragma once

#include <filesystem>
#include <string>

#include "runtime/config.h"

namespace trident {

struct PickleValue;

/// None, booleans, numbers and texts are themselves; dicts (integer keys as text) are maps; tuples, lists, sets and torch.Size lists;
/// tensors are left out of dicts and null in lists. A tuple named "domain_padding", which has no effect in neuraloperator, is null. A
/// Python object is a text: a function or class its name ("gelu"), an instance the name of its class followed by "(...)". Throws
/// CheckpointError that begins with `where` on values that are nested without end.
ConfigValue plain_values(const PickleValue& root, const std::string& where);

/// The values of a file of torch.save, or of a plain pickle.
ConfigValue read_pickled_values(const std::filesystem::path& path);

}  // namespace trident
