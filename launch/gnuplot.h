/// Pictures through gnuplot: the script and its data stay beside the picture, for whoever wants to change it.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace trident {

/// A field (ny, nx) of a picture, with its own range of colours.
struct Panel {
  std::string title;
  std::int64_t ny = 0, nx = 0;
  std::vector<double> values;  // row-major
  double lowest = 0.0, highest = 1.0;
  bool is_error = false;  // another palette
};

/// Panels in rows; every row has as many. Writes NAME.dat, NAME.gp and NAME.png into `folder`; returns the picture.
std::filesystem::path draw_panels(const std::filesystem::path& folder, const std::string& name,
                                  const std::vector<std::vector<Panel>>& rows);

/// Fields of one dimension (ny is 1) in rows: those of a row as lines of one diagram, and errors in a diagram beside it. Likewise.
std::filesystem::path draw_lines(const std::filesystem::path& folder, const std::string& name, const std::vector<std::vector<Panel>>& rows);

/// A line of a diagram: points (x, y).
struct Curve {
  std::string title;
  std::vector<std::pair<double, double>> points;
};
/// Diagrams of curves over the step, one below the other, logarithmic in y. Likewise.
struct Diagram {
  std::string label;
  std::vector<Curve> curves;
};
std::filesystem::path draw_curves(const std::filesystem::path& folder, const std::string& name, const std::vector<Diagram>& diagrams);

}  // namespace trident
