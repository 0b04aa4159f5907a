#include "launch/trainer/log.h"

#include <unistd.h>

#include <array>
#include <ctime>
#include <iostream>

#include "runtime/error.h"

namespace trident {

bool on_terminal() { return ::isatty(STDERR_FILENO) == 1; }

Log::Log(const std::string& path) : speaks_(true), file_(path, std::ios::app) {
  if (!file_) throw DataError(concat(path, ": cannot be opened for appending; check the permissions of the output folder"));
}

Log Log::to_terminal() {
  Log log;
  log.speaks_ = true;
  return log;
}

void Log::operator()(const std::string& line) {
  if (!speaks_) return;
  if (live_) std::cerr << "\r\033[K";
  live_ = false;
  std::cerr << line + '\n' << std::flush;
  if (!file_.is_open()) return;
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  ::localtime_r(&now, &local);
  std::array<char, 32> time{};
  std::strftime(time.data(), time.size(), "%Y-%m-%d %H:%M:%S ", &local);
  file_ << time.data() << line << '\n' << std::flush;
}

void Log::show_live(const std::string& line) {
  if (!speaks_) return;
  std::cerr << "\r\033[K" + line << std::flush;
  live_ = true;
}

}  // namespace trident
