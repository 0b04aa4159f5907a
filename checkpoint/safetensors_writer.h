/// Writing safetensors files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "runtime/tensor/tensor.h"

namespace trident {

struct NamedTensor {
  std::string name;
  Tensor tensor;  // any strides
};

/// A tensor that is made when its turn has come: no two need be in memory.
struct LateTensor {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;
  std::function<Tensor()> make;  // any strides
};

/// Tensors that are there already.
std::vector<LateTensor> late(const std::vector<NamedTensor>& tensors);

/// Writes atomically, one tensor after the other, wide number types first (so that all are aligned), else in the given order. Nothing is
/// copied but what is not contiguous, one tensor at a time. c128, which the format lacks, becomes f64 with a last dimension of 2, and its
/// name ends in kComplexEnding (weight_files.h). `metadata`: PyTorch's readers want "format".
/// Throws CheckpointError on duplicate names and failing file operations.
void write_safetensors(const std::filesystem::path& path, const std::vector<NamedTensor>& tensors,
                       const std::map<std::string, std::string>& metadata = {{"format", "pt"}});
/// The same of tensors that are made in the order of in_file_order().
void write_safetensors(const std::filesystem::path& path, const std::vector<LateTensor>& tensors,
                       const std::map<std::string, std::string>& metadata = {{"format", "pt"}});
std::vector<LateTensor> in_file_order(std::vector<LateTensor> tensors);

/// What stands before the tensors in a file, and where in it each of them begins.
struct SafetensorsLayout {
  std::string header;
  std::vector<std::uint64_t> offsets;  // bytes
  std::uint64_t bytes = 0;             // of the whole file
};
/// `tensors` as in_file_order() gives them; nothing is made. Throws CheckpointError on duplicate names.
SafetensorsLayout safetensors_layout(const std::filesystem::path& path, const std::vector<LateTensor>& tensors,
                                     const std::map<std::string, std::string>& metadata);

}  // namespace trident
