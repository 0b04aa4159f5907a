/// Writing files of torch.save, as torch.load(weights_only=True) reads them: tensors and plain values, no Python objects.
#pragma once

#include <filesystem>
#include <vector>

#include "checkpoint/safetensors_writer.h"
#include "runtime/config.h"

namespace trident {

/// A state dict: an OrderedDict of the tensors in the given order, and, where `arguments` is a map, its entries as the dict "_metadata"
/// behind them, where neuraloperator looks for the arguments of a model. Like a module's own it carries the versions of the modules that
/// the names tell of. Written atomically. Throws CheckpointError on names that occur twice and failing file operations.
void write_state_dict(const std::filesystem::path& path, const std::vector<NamedTensor>& tensors, const ConfigValue& arguments = {});
/// The same of tensors that are made one at a time, in their order.
void write_state_dict(const std::filesystem::path& path, const std::vector<LateTensor>& tensors, const ConfigValue& arguments = {});

/// torch.save of None, booleans, numbers, texts, lists and dicts (maps).
void write_pickled_values(const std::filesystem::path& path, const ConfigValue& values);

}  // namespace trident
