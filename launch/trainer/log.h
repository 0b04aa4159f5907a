/// What a run says: lines on standard error and, with the time, in the run's log file.
#pragma once

#include <fstream>
#include <string>

namespace trident {

class Log {
 public:
  /// Says nothing: ranks other than 0.
  Log() = default;
  /// Appends to the file at `path`, and prints.
  explicit Log(const std::string& path);
  /// Prints only.
  static Log to_terminal();

  void operator()(const std::string& line);
  /// A live line on the terminal that must be cleared before another line is printed.
  void show_live(const std::string& line);

 private:
  bool speaks_ = false;
  bool live_ = false;
  std::ofstream file_;
};

/// Whether standard error is a terminal, on which one line can be rewritten.
bool on_terminal();

}  // namespace trident
