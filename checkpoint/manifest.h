/// The table of contents of a sharded checkpoint: which part of which tensor lies in which file, with checksums.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/box.h"
#include "runtime/config.h"

namespace trident {

/// A box of a tensor, under the tensor's name in a safetensors file beside the manifest.
struct ManifestPart {
  std::string file;
  Box box;
  std::uint64_t checksum = 0;  // XXH64 of the bytes
};

struct ManifestTensor {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;  // of the whole tensor
  std::vector<ManifestPart> parts;
};

struct Manifest {
  ConfigValue state = ConfigValue::map();
  std::vector<ManifestTensor> tensors;
};

std::string to_json(const Manifest& manifest);
/// Throws CheckpointError that begins with `file` if the text is no manifest, or if a part leaves its tensor or the folder.
Manifest parse_manifest(std::string_view text, const std::string& file);
/// Adds the tensors of another rank's manifest: parts of tensors that both have are joined.
void merge(Manifest& manifest, Manifest other);

std::uint64_t checksum_of(const void* data, std::size_t bytes);
/// Sixteen hexadecimal digits.
std::string to_hex(std::uint64_t value);

}  // namespace trident
