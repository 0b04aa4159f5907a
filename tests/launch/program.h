/// Running the program as its users do: real processes, their exit status and what they print.
#pragma once

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include "runtime/config.h"

namespace trident::testing {

struct Finished {
  int status = 0;      // exit code, or 128 + signal
  std::string output;  // standard output and error together
};

/// Runs a shell command to its end.
Finished run_shell(const std::string& command);
/// The path of the program, quoted for the shell, and mpirun with as many ranks.
std::string program();
std::string mpirun(int ranks);

/// A process that runs beside the test.
class Background {
 public:
  /// What it prints goes to the file `output`.
  explicit Background(const std::string& command, const std::string& output = "/dev/null");
  void signal(int number) const;
  /// Its exit code, or 128 + signal. Kills it after `limit`, which gives 137.
  int wait(std::chrono::seconds limit);

 private:
  int process_ = 0;
};

/// A folder of the test's own with a small run file in it: run.yaml trains a tiny model on recorded data.
class RunFolderFixture {
 public:
  RunFolderFixture();
  ~RunFolderFixture();
  std::filesystem::path path(const std::string& name) const { return folder_ / name; }
  /// `trident train run.yaml output=NAME ARGUMENTS`, with `launcher` in front.
  std::string train(const std::string& name, const std::string& arguments = "", const std::string& launcher = "") const;
  std::vector<ConfigValue> metrics(const std::string& name) const;
  /// A column of the rows of steps.
  std::vector<double> column(const std::string& name, const std::string& key) const;
  static std::string bytes(const std::filesystem::path& path);

 private:
  std::filesystem::path folder_;
};

}  // namespace trident::testing
