#include "launch/data/field_source.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <optional>
#include <utility>

#include "launch/data/stored_variable.h"
#include "runtime/error.h"

namespace trident {
namespace {

/// What all layouts share: extents that the variables of a problem must agree on.
struct Extents {
  std::int64_t trajectories = -1, frames = 1;
  Shape space;  // -1: not known yet

  explicit Extents(const Problem& problem) {
    for (int axis = 0; axis < problem.space_axes; ++axis) space.push_back(-1);
  }
};

/// Takes an extent from the first variable that has it, and compares the others.
void agree(const StoredVariable& variable, const std::string& name, const std::string& what, std::int64_t found, std::int64_t& agreed) {
  if (agreed < 0) agreed = found;
  if (agreed == found) return;
  throw DataError(concat(variable.path(), ": variable \"", name, "\" has ", found, " ", what, ", expected ", agreed,
                         " as the set's other variables and files; check that all of them belong to one set"));
}

void agree_on_space(const StoredVariable& variable, const std::string& name, Extents& extents) {
  if (!variable.has('x')) return;
  for (int axis = 0; axis < extents.space.rank(); ++axis) {
    const char letter = space_letter(extents.space.rank(), axis);
    agree(variable, name, concat("points along ", letter), variable.extent(letter), extents.space[axis]);
  }
}

Numbers numbers_of(const Problem& problem) { return problem.complex ? Numbers::complex : Numbers::real; }

void require_channels(const Problem& problem, std::size_t index, const StoredVariable& variable) {
  int needed = 0;
  for (const auto* channels : {&problem.input, &problem.output}) {
    for (const Channel& channel : *channels) {
      if (channel.source == Source::file && channel.variable == problem.variables[index].name) needed = std::max(needed, channel.index + 1);
    }
  }
  if (variable.extent('c') >= needed) return;
  throw DataError(concat(variable.path(), ": variable \"", problem.variables[index].name, "\" has ", variable.extent('c'),
                         " channels, expected at least ", needed, " for problem \"", problem.name,
                         "\"; check the problem's name, or the channels that are named"));
}

/// Variables at the root of a file, or of chunk files that continue each other.
class RootSource final : public FieldSource {
 public:
  RootSource(const Problem& problem, const std::string& path, ChunkOrder order) : extents_(problem) {
    const bool chunked = std::filesystem::is_directory(path);
    std::optional<DataFile> whole;
    if (!chunked) whole = DataFile::open(path);
    std::int64_t frames = -1;
    for (std::size_t index = 0; index < problem.variables.size(); ++index) {
      const Variable& variable = problem.variables[index];
      Pieces& pieces = variables_.emplace_back();
      const auto add = [&](const DataFile& file) {
        const StoredVariable& piece = pieces.files.emplace_back(file, variable.name, variable, numbers_of(problem));
        pieces.first.push_back(pieces.first.back() + piece.extent('n'));
        require_channels(problem, index, piece);
        agree_on_space(piece, variable.name, extents_);
        if (piece.has('t')) agree(piece, variable.name, "frames", piece.extent('t'), frames);
      };
      if (whole)
        add(*whole);
      else
        for (const std::string& file : chunk_files(path, variable.name, order)) add(DataFile::open(file));
      agree(pieces.files.back(), variable.name, "trajectories", pieces.first.back(), extents_.trajectories);
      if (chunked) describe(variable.name, pieces.files.size(), order);
    }
    if (frames > 0) extents_.frames = frames;
    if (!chunked) description_ = path;
  }

  std::int64_t num_trajectories() const override { return extents_.trajectories; }
  int num_frames() const override { return static_cast<int>(extents_.frames); }
  const Shape& extents() const override { return extents_.space; }
  std::string description() const override { return description_; }

  void read(const ChannelRun& run, std::int64_t trajectory, int frame, const FieldWindow& window, float* target) const override {
    const Pieces& pieces = variables_[run.variable];
    const auto next = std::upper_bound(pieces.first.begin(), pieces.first.end(), trajectory);
    const auto file = static_cast<std::size_t>(next - pieces.first.begin()) - 1;
    pieces.files[file].read(trajectory - pieces.first[file], {trajectory, frame}, run.first, run.count, window, target);
  }

 private:
  struct Pieces {
    std::vector<StoredVariable> files;
    std::vector<std::int64_t> first{0};  // trajectory of each file, and the end
  };

  void describe(const std::string& variable, std::size_t files, ChunkOrder order) {
    description_ += concat(description_.empty() ? "" : ", ", variable, ": ", files, files == 1 ? " file" : " files",
                           order == ChunkOrder::number ? " in the order of their numbers" : " in the order of their names");
  }

  std::vector<Pieces> variables_;
  Extents extents_;
  std::string description_;
};

/// One HDF5 group per trajectory; a field, or one number that fills a field, for each variable.
class GroupSource final : public FieldSource {
 public:
  GroupSource(const Problem& problem, const std::string& path) : problem_(problem), file_(DataFile::open(path)), extents_(problem) {
    const auto in_series = [&](const std::string& name) { return name.starts_with(problem.sample_groups); };
    const std::vector<std::string> names = Hdf5File::open(path).names();
    extents_.trajectories = std::count_if(names.begin(), names.end(), in_series);
    if (extents_.trajectories == 0) {
      throw DataError(
          concat(path, ": has no group \"", problem.sample_groups, "0\"; check that the file belongs to problem \"", problem.name, "\""));
    }
    for (std::size_t index = 0; index < problem.variables.size(); ++index)
      agree_on_space(open(index, 0), problem.variables[index].name, extents_);
  }

  std::int64_t num_trajectories() const override { return extents_.trajectories; }
  int num_frames() const override { return 1; }
  const Shape& extents() const override { return extents_.space; }
  std::string description() const override { return file_.path(); }

  void read(const ChannelRun& run, std::int64_t trajectory, int frame, const FieldWindow& window, float* target) const override {
    const StoredVariable variable = open(run.variable, trajectory);
    Extents expected = extents_;
    agree_on_space(variable, concat(problem_.sample_groups, trajectory, "/", problem_.variables[run.variable].name), expected);
    if (variable.has('x')) return variable.read(0, {trajectory, frame}, run.first, run.count, window, target);
    float number = 0.0F;
    variable.read(0, {trajectory, frame}, run.first, run.count, {.part = whole_box({1, 1})}, &number);
    std::fill_n(target, window.points(), number);
  }

 private:
  StoredVariable open(std::size_t index, std::int64_t trajectory) const {
    const Variable& variable = problem_.variables[index];
    return {file_, concat(problem_.sample_groups, trajectory, "/", variable.name), variable, numbers_of(problem_)};
  }

  Problem problem_;
  DataFile file_;
  Extents extents_;
};

/// 12 of "velocity_12.nc".
std::optional<std::int64_t> chunk_number(const std::string& name, const std::string& variable) {
  if (!name.starts_with(variable + "_")) return std::nullopt;
  const char* begin = name.data() + variable.size() + 1;
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(begin, name.data() + name.size(), number);
  const std::string_view ending(end, static_cast<std::size_t>(name.data() + name.size() - end));
  constexpr std::array<std::string_view, 7> kEndings{".nc", ".h5", ".hdf5", ".npy", ".npz", ".pt", ".safetensors"};
  if (error != std::errc() || std::find(kEndings.begin(), kEndings.end(), ending) == kEndings.end()) return std::nullopt;
  return number;
}

}  // namespace

Box box_of(const Shape& extents, const Rectangle& rectangle) {
  Box box = whole_box(extents);
  box.back() = rectangle.columns;
  if (box.size() > 1) box[box.size() - 2] = rectangle.rows;
  return box;
}

std::string spelled_points(const Shape& extents) {
  std::string text;
  for (const std::int64_t extent : extents) text += concat(text.empty() ? "" : "x", extent);
  return text;
}

std::int64_t FieldWindow::points() const {
  std::int64_t points = 1;
  for (std::size_t axis = 0; axis < part.size(); ++axis) points *= extent(axis);
  return points;
}

std::vector<std::string> chunk_files(const std::string& folder, const std::string& variable, ChunkOrder order) {
  std::vector<std::pair<std::int64_t, std::string>> found;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (const auto number = chunk_number(name, variable)) found.emplace_back(*number, name);
  }
  if (found.empty()) {
    throw DataError(concat(folder, ": has no chunk file of variable \"", variable, "\" (", variable, "_0.nc, ", variable,
                           "_1.nc, ...); check the path and the problem"));
  }
  std::sort(found.begin(), found.end());
  for (std::size_t index = 0; index < found.size(); ++index) {
    if (found[index].first == static_cast<std::int64_t>(index)) continue;
    throw DataError(concat(folder, ": ", found[index].second, " follows where ", variable, "_", index,
                           ".nc was expected; chunk files are numbered from 0 without gaps: fetch the missing one"));
  }
  if (order == ChunkOrder::name) std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  std::vector<std::string> paths;
  for (const auto& [number, name] : found) paths.push_back((std::filesystem::path(folder) / name).string());
  return paths;
}

std::unique_ptr<FieldSource> open_field_source(const Problem& problem, const std::string& path, ChunkOrder order) {
  if (!problem.sample_groups.empty()) return std::make_unique<GroupSource>(problem, path);
  return std::make_unique<RootSource>(problem, path, order);
}

}  // namespace trident
