#include "launch/trainer/metrics.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "checkpoint/atomic_file.h"

namespace trident {
namespace {

[[noreturn]] void fail(const std::filesystem::path& path, const char* what) {
  throw DataError(concat(path.string(), ": ", what, ": ", std::strerror(errno)));
}

bool is_evaluation(const ConfigValue& row) { return row.find("loss") == nullptr; }

}  // namespace

MetricsFile::MetricsFile(const std::filesystem::path& path) : path_(path) {
  descriptor_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (descriptor_ < 0) fail(path_, "cannot be opened for appending");
}

MetricsFile::~MetricsFile() { ::close(descriptor_); }

void MetricsFile::append(const ConfigValue& row) {
  const std::string line = to_json(row, 0) + '\n';
  // One write, so that a reader or a crash never sees half a row followed by another.
  if (::write(descriptor_, line.data(), line.size()) != static_cast<ssize_t>(line.size())) fail(path_, "a row could not be written");
}

std::vector<ConfigValue> read_metrics(const std::filesystem::path& path) {
  std::vector<ConfigValue> rows;
  std::ifstream file(path);
  std::string line;
  while (std::getline(file, line)) {
    if (file.eof()) break;  // no line end: the writer was cut off here
    const std::string place = concat(path.string(), ", row ", rows.size() + 1);
    rows.push_back(parse_json(line, place));
    if (rows.back().find("step") == nullptr) throw DataError(concat(place, ": has no step; remove it"));
  }
  return rows;
}

void drop_metrics_past(const std::filesystem::path& path, std::int64_t steps) {
  std::string kept;
  for (const ConfigValue& row : read_metrics(path)) {
    const std::int64_t step = row.find("step")->as_integer();
    if (is_evaluation(row) ? step <= steps : step < steps) kept += to_json(row, 0) + '\n';
  }
  write_file_atomically(path, kept);
}

}  // namespace trident
