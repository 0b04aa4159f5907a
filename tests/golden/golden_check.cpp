/// Compares Trident with numbers recorded from the public references: golden_check [--data FOLDER] [--device cpu|cuda] DIR...
/// A DIR is a case, or a folder of cases. One line per quantity; exit code 1 if one fails.
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/golden/golden.h"

namespace trident::golden {
namespace {

std::vector<std::filesystem::path> sorted_folders(const std::filesystem::path& parent) {
  std::vector<std::filesystem::path> folders;
  for (const auto& entry : std::filesystem::directory_iterator(parent)) {
    if (entry.is_directory()) folders.push_back(entry.path());
  }
  std::ranges::sort(folders);
  return folders;
}

void print(const Row& row) {
  std::printf("%-100s %10.3e %10.3e %s%s%s\n", row.name.c_str(), row.error, row.bound, row.ok() ? "ok" : "FAILED",
              row.note.empty() ? "" : "  ", row.note.c_str());
}

/// How many rows failed.
int run_kind(const Kind& kind, Folder& folder, const Options& options) {
  std::printf("%s (%s)\n", folder.path().string().c_str(), kind.name);
  Rows rows;
  try {
    rows = kind.check(folder, options);
    if (rows.empty()) rows.push_back(failed("everything", "the check found nothing to compare"));
    const Rows unused = folder.unused();
    rows.insert(rows.end(), unused.begin(), unused.end());
  } catch (const std::exception& error) {
    rows.push_back(failed("everything", error.what()));
  }
  std::ranges::for_each(rows, print);
  std::fflush(stdout);
  return static_cast<int>(std::ranges::count_if(rows, [](const Row& row) { return !row.ok(); }));
}

int check(const std::filesystem::path& path, const Options& options) {
  int failures = 0;
  bool matched = false;
  try {
    Folder folder(path);
    for (const Kind& kind : kinds()) {
      if (!kind.matches(folder)) continue;
      failures += run_kind(kind, folder, options);
      if (!kind.holds_cases) return failures;
      matched = true;
      break;
    }
  } catch (const std::exception& error) {
    print(failed(path.string(), error.what()));
    return 1;
  }
  const std::vector<std::filesystem::path> inside = std::filesystem::is_directory(path) ? sorted_folders(path) : std::vector<std::filesystem::path>{};
  for (const std::filesystem::path& folder : inside) failures += check(folder, options);
  if (inside.empty() && !matched) {
    print(failed(path.string(), "no kind of case has these files"));
    return 1;
  }
  return failures;
}

}  // namespace
}  // namespace trident::golden

int main(int argc, char** argv) {
  using namespace trident::golden;
  CLI::App app("Compares Trident with numbers recorded from the public references. Bounds: f64 1e-9; f32 three times the reference's own\n"
               "distance between f32 and f64, at least 1e-6.");
  Options options;
  std::string device = "cpu";
  std::vector<std::string> folders;
  app.add_option("--data", options.data, "folder of data files that cases name");
  app.add_option("--device", device, "cpu or cuda")->check(CLI::IsMember({"cpu", "cuda"}));
  app.add_option("DIR", folders, "a case, or a folder of cases")->required();
  CLI11_PARSE(app, argc, argv);
  if (device == "cuda") options.device = {trident::Device::Kind::cuda, 0};
  int failures = 0;
  for (const std::string& folder : folders) failures += check(folder, options);
  std::printf("%d failed\n", failures);
  return failures == 0 ? 0 : 1;
}
