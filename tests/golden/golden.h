/// What golden_check is made of: folders of recorded numbers, kinds of folders, and the rows that a check prints.
#pragma once

#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "checkpoint/safetensors_reader.h"
#include "parallel/mesh.h"
#include "parallel/session.h"
#include "runtime/config.h"
#include "runtime/tensor/tensor.h"

namespace trident::golden {

/// One quantity: what it is, how far off, and how far it may be.
struct Row {
  std::string name;
  double error = 0.0;  // relative 2-norm unless the name says otherwise
  double bound = 0.0;
  std::string note = "";  // printed after the verdict

  bool ok() const { return error <= bound; }  // false for NaN
};
using Rows = std::vector<Row>;

/// A quantity that the check does not know, or could not compute: always fails.
Row failed(const std::string& name, const std::string& why);

inline constexpr double kF64Bound = 1e-9;
/// Three times the distance between the reference's own f32 and f64, at least 1e-6.
double f32_bound(double reference_distance);
/// The same for a quantity of a training curve. Of absolute differences (p = 1) a loss has a kink wherever one of them is 0: where rounding
/// decides on which side it lies, the gradient's norm jumps: in ten steps from the same weights by 0.8e-3 to 1.3e-3 of itself, depending on
/// the threads and vectors of a machine alone, and losses part by what a step makes of that.
double f32_curve_bound(double reference_distance, const std::string& quantity, double p);
/// Computed on GPUs alone: outputs, and the loss along a curve.
inline constexpr double kBf16OutputBound = 2e-2, kBf16CurveBound = 1e-2;
/// Where a case enlarges rounding so much that products of bf16 numbers cannot reach that (docs/cuda.md): half of what the reference's own
/// distance between f32 and f64 is with bf16's rounding, which is 2^16 times f32's.
inline double bf16_bound(double distance) { return std::max(kBf16OutputBound, 0x1p15 * distance); }

struct Options {
  std::filesystem::path data;  // where data files named in a case are looked for after the case's own folder; may be empty
  Device device;
  Mesh mesh;
  Session* session = nullptr;  // of the mesh's ranks
};

/// Thrown before any exchange, on all ranks alike: the mesh cannot compute this case, which the first rank then checks alone.
struct OnOneRank {
  std::string reason;
};

/// The folder of a case, and what has been used of it: what no check asked for fails.
class Folder {
 public:
  explicit Folder(std::filesystem::path path);

  const std::filesystem::path& path() const { return path_; }
  bool has(const std::string& file) const { return std::filesystem::exists(path_ / file); }
  /// A JSON file of the folder. Throws if it is missing.
  ConfigValue json(const std::string& file) const;
  /// tensors.safetensors; empty if the folder has none.
  const std::optional<SafetensorsReader>& tensors() const { return tensors_; }
  /// A tensor of it, marked as used; undefined if there is none.
  Tensor take(const std::string& name);
  /// Names that begin with `prefix`, without it, in the order of the file.
  std::vector<std::string> names_with(const std::string& prefix) const;
  /// One failed row for each tensor that was never taken.
  Rows unused() const;

 private:
  std::filesystem::path path_;
  std::optional<SafetensorsReader> tensors_;
  std::set<std::string> taken_;
};

/// The p of a model's loss.
double loss_exponent(const Folder& folder);

/// |actual - expected| / |expected| in the 2-norm over all elements (absolute where expected is 0); infinite if their counts differ.
double relative_error(const Tensor& actual, const Tensor& expected);
/// The elements as f64, row-major, on the host.
std::vector<double> numbers(const Tensor& x);
double relative_error(const std::vector<double>& actual, const std::vector<double>& expected);
double norm(const std::vector<double>& x);
/// A data file that a case names: in the case's folder or those above it, the folder of the options, or beside the small copies. Throws
/// DataError.
std::filesystem::path find_data(const std::string& name, const Folder& folder, const Options& options);
/// A failed row for each key of a case file that is not among `known`.
Rows unknown_keys(const ConfigValue& document, const std::set<std::string>& known);

/// A layout of folders that the program can check.
struct Kind {
  const char* name;
  bool (*matches)(const Folder& folder);  // by the files it holds
  Rows (*check)(Folder& folder, const Options& options);
  bool holds_cases = false;  // the folders inside are cases too
  bool on_meshes = false;    // whether ranks have something to share out
};
/// In the order in which they are tried.
const std::vector<Kind>& kinds();

}  // namespace trident::golden
