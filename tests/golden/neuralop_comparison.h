/// What the kinds of folders in goldens/neuralop share. A case was run in f32 (tensors.safetensors, with the inputs) and in f64
/// (tensors_f64.safetensors); complex tensors end in a dimension of 2 and their names in "::complex".
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "models/norm_loss.h"
#include "tests/golden/golden.h"

namespace trident::golden {

/// Whether case.json says that the folder is of this kind.
bool is_neuralop(const Folder& folder, const std::string& kind);
/// A copy in another number type; undefined stays undefined.
Tensor on_device(const Tensor& x, DType dtype, const Options& options);
/// Row-major numbers as f64; complex ones as pairs.
std::vector<double> flat(const Tensor& x);

/// Compares results with a case. Bounds: f64 1e-9; f32 three times the largest distance between the reference's own f32 and f64 of the
/// quantity's class, at least 1e-6.
class Comparison {
 public:
  explicit Comparison(Folder& folder);

  bool has(const std::string& name) const;
  /// A tensor that both runs were given; undefined if there is none. Complex ones as pairs.
  Tensor given(const std::string& name);
  /// The results of one run, by the name of the recorded tensor. `quantity`: the class.
  void check(const std::string& quantity, const std::string& name, DType dtype, const Tensor& actual);
  void check(const std::string& quantity, const std::string& name, DType dtype, const std::vector<double>& actual);
  /// A number that case.json holds for both runs (a missing f32: no distance).
  void check_number(const std::string& quantity, const std::string& name, DType dtype, double actual, double f64, std::optional<double> f32);
  /// Recorded tensors PREFIX/NAME against the results by NAME: each, and all together. Those in `zero` are left out.
  void check_all(const std::string& prefix, DType dtype, const std::map<std::string, std::vector<double>>& actual,
                 const std::set<std::string>& zero = {});
  void fail(const std::string& name, const std::string& why) { failures_.push_back(failed(name, why)); }

  /// All rows, and a failed one for each tensor of the f64 file that was never asked for.
  Rows rows() const;

 private:
  struct Compared {
    std::string quantity, name;
    DType dtype;
    double error;
  };
  std::optional<std::vector<double>> recorded(const std::string& name, DType dtype);
  void add(const std::string& quantity, const std::string& name, DType dtype, double error, double distance);

  Folder& folder_;
  std::optional<SafetensorsReader> wide_;
  std::set<std::string> taken_;
  std::vector<Compared> compared_;
  std::map<std::string, double> distances_;  // by quantity
  Rows failures_;
};

/// The loss that a case describes as {class, d, ...}.
NormLoss norm_loss_of(const ConfigValue& document);

bool matches_losses(const Folder& folder);
Rows check_losses(Folder& folder, const Options& options);

}  // namespace trident::golden
