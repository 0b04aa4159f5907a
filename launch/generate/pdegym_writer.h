/// Writes a data set in the layout of PDEgym: one variable (sample, time, channel, x, y) in f32, one frame a chunk, netCDF-4 dimensions.
#pragma once

#include <string>

#include "checkpoint/atomic_file.h"
#include "launch/data/hdf5_file.h"
#include "launch/generate/sample_farm.h"

namespace trident {

class PdegymWriter final : public SampleWriter {
 public:
  /// The file appears under `path` at commit(). shape: (trajectories, frames, channels, points, points). Throws DataError, CheckpointError.
  PdegymWriter(const std::string& path, const std::string& variable, const Shape& shape, const std::string& source);

  /// Row-major (frame, channel, x, y).
  void write(std::int64_t trajectory, const float* frames) override;
  void commit() override;

 private:
  AtomicFile file_;
  Hdf5File hdf5_;
  Hdf5Dataset dataset_;
};

}  // namespace trident
