/// Small data files for tests: every number tells where it stands.
#pragma once

#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include "launch/data/hdf5_file.h"

namespace trident::testing {

/// 0, 1, 2, ... in row-major order: the value of element (i, j, ...) is its flat index. Element `damaged` is not a number.
inline void write_counting(const std::filesystem::path& path, const std::string& variable, const Shape& shape, std::int64_t damaged = -1) {
  Hdf5File file = Hdf5File::create(path.string());
  const Hdf5Dataset dataset = file.create_dataset(variable, shape, DType::f32);
  std::vector<float> values(static_cast<std::size_t>(numel(shape)));
  for (std::size_t k = 0; k < values.size(); ++k) values[k] = static_cast<float>(k);
  if (damaged >= 0) values[static_cast<std::size_t>(damaged)] = std::numeric_limits<float>::quiet_NaN();
  Shape start;
  for (int dim = 0; dim < shape.rank(); ++dim) start.push_back(0);
  dataset.write(start, shape, values.data());
}

}  // namespace trident::testing
