/// Compares Trident with numbers recorded from the public references: golden_check [--data FOLDER] [--device cpu|cuda] [--mesh DxYxXxT]
/// DIR... A DIR is a case, or a folder of cases. One line per quantity; exit code 1 if one fails, 77 if there is no device to run on.
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <string>
#include <vector>

#include "parallel/messages.h"
#include "parallel/session.h"
#include "runtime/device/cuda_device.h"
#include "runtime/error.h"
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

/// The first rank speaks for all.
bool speaks(const Options& options) { return options.mesh.world().rank() == 0; }

void print(const Row& row) {
  std::printf("%-100s %10.3e %10.3e %s%s%s\n", row.name.c_str(), row.error, row.bound, row.ok() ? "ok" : "FAILED",
              row.note.empty() ? "" : "  ", row.note.c_str());
}

Rows rows_of_one_rank(const Kind& kind, Folder& folder, const Options& options) {
  try {
    return kind.check(folder, options);
  } catch (const std::exception& error) {
    return {failed("everything", error.what())};
  }
}

/// What all ranks refuse alike is one failure. An error that one rank meets alone ends the job at the next collective, which does not
/// match.
Rows rows_of(const Kind& kind, Folder& folder, const Options& options) {
  if (options.mesh.world().size() == 1) return rows_of_one_rank(kind, folder, options);
  std::string reason = "there is nothing to share out";
  if (kind.on_meshes) {
    try {
      return kind.check(folder, options);
    } catch (const OnOneRank& exception) {
      reason = exception.reason;
    }
  }
  if (!speaks(options)) return {};
  std::printf("  on one rank: %s\n", reason.c_str());
  Session alone = Session::alone();
  return rows_of_one_rank(kind, folder, {.data = options.data, .device = options.device, .mesh = {}, .session = &alone});
}

/// How many rows failed.
int run_kind(const Kind& kind, Folder& folder, const Options& options) {
  if (speaks(options)) std::printf("%s (%s)\n", folder.path().string().c_str(), kind.name);
  Rows rows = rows_of(kind, folder, options);
  if (!speaks(options)) return 0;  // what the first rank has is compared
  if (rows.empty()) rows.push_back(failed("everything", "the check found nothing to compare"));
  const Rows unused = folder.unused();
  rows.insert(rows.end(), unused.begin(), unused.end());
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
  const std::vector<std::filesystem::path> inside =
      std::filesystem::is_directory(path) ? sorted_folders(path) : std::vector<std::filesystem::path>{};
  for (const std::filesystem::path& folder : inside) failures += check(folder, options);
  if (inside.empty() && !matched) {
    print(failed(path.string(), "no kind of case has these files"));
    return 1;
  }
  return failures;
}

}  // namespace
}  // namespace trident::golden

namespace trident::golden {
namespace {

/// "1x2x2x1": data x domain_y x domain_x x tensor.
MeshSizes sizes_of(const std::string& text) {
  MeshSizes sizes{};
  if (std::sscanf(text.c_str(), "%dx%dx%dx%d", &sizes[0], &sizes[1], &sizes[2], &sizes[3]) != kNumAxes) {
    throw ConfigError(concat("--mesh: \"", text, "\" is not data x domain_y x domain_x x tensor, such as 1x2x2x1"));
  }
  return sizes;
}

constexpr int kNotRun = 77;  // what ctest and automake take for a skipped test

struct CommandLine {
  Options options;
  std::string device = "cpu", mesh = "1x1x1x1";
  std::vector<std::string> folders;
};

int run(const CommandLine& line, Session& session) {
  Options options = line.options;
  if (line.device == "cuda") {
    const int devices = cuda_device_count();
    if (devices == 0) {
      std::printf("golden_check: not run, as there is no CUDA device here%s\n", cuda_problem().c_str());
      return kNotRun;
    }
    options.device = {Device::Kind::cuda, session.host().rank() % devices};
    session.use_device(options.device);
  }
  options.mesh = Mesh(session.world(), sizes_of(line.mesh));
  options.session = &session;
  session.set_mesh(options.mesh);
  int failures = 0;
  for (const std::string& folder : line.folders) failures += check(folder, options);
  if (speaks(options)) std::printf("%d failed\n", failures);
  return any_of(options.mesh.world(), failures > 0) ? 1 : 0;
}

}  // namespace
}  // namespace trident::golden

int main(int argc, char** argv) {
  using namespace trident::golden;
  CLI::App app(
      "Compares Trident with numbers recorded from the public references. Bounds: f64 1e-9; f32 three times the reference's own\n"
      "distance between f32 and f64, at least 1e-6.");
  CommandLine line;
  app.add_option("--data", line.options.data, "folder of data files that cases name");
  app.add_option("--device", line.device, "cpu or cuda")->check(CLI::IsMember({"cpu", "cuda"}));
  app.add_option(
      "--mesh", line.mesh,
      "data x domain_y x domain_x x tensor ranks of mpirun, such as 1x2x2x1; cases that it cannot share out are checked on one of them");
  app.add_option("DIR", line.folders, "a case, or a folder of cases")->required();
  CLI11_PARSE(app, argc, argv);
  return trident::run_job([&](trident::Session& session) { return run(line, session); });
}
