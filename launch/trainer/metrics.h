/// metrics.jsonl: one row a step and one an evaluation, each on disk as soon as it is known.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "runtime/config.h"

namespace trident {

class MetricsFile {
 public:
  /// Appends to the file. Throws DataError if it cannot be written.
  explicit MetricsFile(const std::filesystem::path& path);
  ~MetricsFile();
  MetricsFile(const MetricsFile&) = delete;
  MetricsFile& operator=(const MetricsFile&) = delete;

  void append(const ConfigValue& row);

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
};

/// All complete rows, each of which has its step; none if there is no file. What is not finite was written as null.
std::vector<ConfigValue> read_metrics(const std::filesystem::path& path);

/// Keeps the rows that a run which goes on after `steps` steps would have written: those of steps 0 .. steps - 1, and the evaluations after
/// at most `steps` steps. The file is replaced as a whole.
void drop_metrics_past(const std::filesystem::path& path, std::int64_t steps);

}  // namespace trident
