#include "launch/gnuplot.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <fstream>

#include "checkpoint/atomic_file.h"
#include "runtime/error.h"

extern char** environ;

namespace trident {
namespace {

namespace fs = std::filesystem;

/// gnuplot's double-quoted text.
std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    result += c;
  }
  return result + '"';
}

/// Whether the picture has its end: gnuplot does not notice a full disk.
bool is_complete(const fs::path& picture) {
  constexpr std::string_view kEnd("IEND\xae\x42\x60\x82", 8);
  std::ifstream file(picture, std::ios::binary | std::ios::ate);
  std::string end(kEnd.size(), ' ');
  return file && file.seekg(-static_cast<std::streamoff>(kEnd.size()), std::ios::end) &&
         file.read(end.data(), static_cast<std::streamsize>(end.size())) && end == kEnd;
}

/// What a script begins with: the picture has its own name if nobody gives another.
std::string begin_script(const std::string& name, std::size_t width, std::size_t height) {
  return concat("if (!exists(\"picture\")) picture = ", quoted(name + ".png"), "\nset terminal pngcairo size ", width, ",", height,
                "\nset output picture\n");
}

/// Runs gnuplot on the script, in its folder, for a picture of another name.
void run_gnuplot(const fs::path& folder, const std::string& script, const std::string& picture) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addchdir_np(&actions, folder.c_str());
  std::string program = "gnuplot", option = "-e", name = "picture=" + quoted(picture), argument = script;
  char* const arguments[] = {program.data(), option.data(), name.data(), argument.data(), nullptr};
  pid_t child = 0;
  const int error = posix_spawnp(&child, "gnuplot", &actions, nullptr, arguments, environ);
  posix_spawn_file_actions_destroy(&actions);
  const std::string kept = concat("the script ", (folder / script).string(), " and its data are there");
  if (error != 0) throw Error(concat("plot: gnuplot is missing; apt-get install gnuplot-nox, then run it again; ", kept));
  int status = 0;
  waitpid(child, &status, 0);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) throw Error(concat("plot: gnuplot failed; ", kept));
}

/// Folders are made, the script written and run.
fs::path draw(const fs::path& folder, const std::string& name, const std::string& data, const std::string& script) {
  make_folder(folder);
  write_file_atomically(folder / (name + ".dat"), data);
  write_file_atomically(folder / (name + ".gp"), script);
  const fs::path path = folder / (name + ".png");
  AtomicFile picture(path);
  run_gnuplot(folder, name + ".gp", picture.temporary().filename());
  if (!is_complete(picture.temporary())) {
    throw DataError(concat(path.string(), ": cannot be written by gnuplot; free space on the file system"));
  }
  picture.commit();
  return path;
}

constexpr const char* kFieldPalette = "set palette defined (0 '#440154', 1 '#3b528b', 2 '#21918c', 3 '#5ec962', 4 '#fde725')\n";
constexpr const char* kErrorPalette = "set palette defined (0 '#2166ac', 1 '#f7f7f7', 2 '#b2182b')\n";

/// In the fewest digits that are enough for f32.
std::string number(double value) {
  std::array<char, 32> digits;
  return {digits.data(), std::to_chars(digits.data(), digits.data() + digits.size(), static_cast<float>(value)).ptr};
}

}  // namespace

fs::path draw_panels(const fs::path& folder, const std::string& name, const std::vector<std::vector<Panel>>& rows) {
  const std::size_t columns = rows.front().size();
  std::string data;
  std::string script = concat(begin_script(name, 330 * columns, 300 * rows.size()), "set multiplot layout ", rows.size(), ",", columns,
                              "\nunset key\nunset tics\nset size ratio -1\nset autoscale fix\nset cbtics\n");
  int block = 0;
  for (const auto& row : rows) {
    for (const Panel& panel : row) {
      for (std::int64_t y = 0; y < panel.ny; ++y) {
        for (std::int64_t x = 0; x < panel.nx; ++x) data += number(panel.values[static_cast<std::size_t>(y * panel.nx + x)]) + ' ';
        data += '\n';
      }
      data += "\n\n";
      const double room = panel.lowest < panel.highest ? 0.0 : 0.5;  // a constant field needs a range too
      script += concat(panel.is_error ? kErrorPalette : kFieldPalette, "set title ", quoted(panel.title), " noenhanced\nset cbrange [",
                       number(panel.lowest - room), ":", number(panel.highest + room), "]\nplot ", quoted(name + ".dat"), " index ",
                       block++, " matrix with image\n");
    }
  }
  return draw(folder, name, data, script + "unset multiplot\n");
}

fs::path draw_lines(const fs::path& folder, const std::string& name, const std::vector<std::vector<Panel>>& rows) {
  const bool has_errors = std::ranges::any_of(rows.front(), &Panel::is_error);
  const std::size_t columns = has_errors ? 2 : 1;
  std::string data;
  std::string script = concat(begin_script(name, 560 * columns, 320 * rows.size()), "set multiplot layout ", rows.size(), ",", columns,
                              "\nset grid\nset xlabel \"point\"\nset autoscale xfix\n");
  int block = 0;
  for (const auto& row : rows) {
    for (const bool errors : {false, true}) {
      const char* separator = "plot ";
      for (const Panel& panel : row) {
        if (panel.is_error != errors) continue;
        for (std::size_t x = 0; x < panel.values.size(); ++x) data += concat(x, ' ', number(panel.values[x]), '\n');
        data += "\n\n";
        script += concat(separator, quoted(name + ".dat"), " index ", block++, " with lines title ", quoted(panel.title), " noenhanced");
        separator = ", ";
      }
      if (!errors || has_errors) script += '\n';
    }
  }
  return draw(folder, name, data, script + "unset multiplot\n");
}

fs::path draw_curves(const fs::path& folder, const std::string& name, const std::vector<Diagram>& diagrams) {
  std::string data;
  std::string script = concat(begin_script(name, 900, 320 * diagrams.size()), "set multiplot layout ", diagrams.size(),
                              ",1\nset logscale y\nset grid\nset xlabel \"step\"\n");
  int block = 0;
  for (const Diagram& diagram : diagrams) {
    script += concat("set ylabel ", quoted(diagram.label), " noenhanced\nplot ");
    const char* separator = "";
    for (const Curve& curve : diagram.curves) {
      for (const auto& [x, y] : curve.points) data += concat(x, ' ', y, '\n');
      data += "\n\n";
      script += concat(separator, quoted(name + ".dat"), " index ", block++, " with ", curve.points.size() < 50 ? "linespoints" : "lines",
                       " title ", quoted(curve.title), " noenhanced");
      separator = ", ";
    }
    script += '\n';
  }
  return draw(folder, name, data, script + "unset multiplot\n");
}

}  // namespace trident
