/// Writes a data set of inputs and outputs: the variables x and y in f32, one sample a chunk, as neuraloperator names them.
#pragma once

#include <string>
#include <vector>

#include "checkpoint/atomic_file.h"
#include "launch/data/hdf5_file.h"
#include "launch/generate/sample_farm.h"

namespace trident {

class PairWriter final : public SampleWriter {
 public:
  /// The file appears under `path` at commit(). x, y: shapes of one sample; attributes: name and text of each. Throws DataError,
  /// CheckpointError.
  PairWriter(const std::string& path, std::int64_t samples, const Shape& x, const Shape& y,
             const std::vector<std::pair<std::string, std::string>>& attributes);

  /// The numbers of x, then those of y.
  void write(std::int64_t sample, const float* values) override;
  void commit() override;

 private:
  AtomicFile file_;
  Hdf5File hdf5_;
  Hdf5Dataset x_, y_;
};

}  // namespace trident
