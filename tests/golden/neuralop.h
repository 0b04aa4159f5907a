/// The kinds of folders in goldens/neuralop, and what they share: numbers in f32 and f64, complex tensors stored real with a trailing 2,
/// weights under the reference's names.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "models/model.h"
#include "models/norm_loss.h"
#include "tests/golden/mesh_case.h"

namespace trident {
struct AdamWOptions;
}

namespace trident::golden {

/// Complex numbers as pairs of reals: the same memory with a trailing dimension of 2. Real tensors stay what they are.
Tensor as_reals(const Tensor& x);
/// The elements as f64, row-major; two for each complex number.
std::vector<double> all_numbers(const Tensor& x);

using NumbersByName = std::map<std::string, std::vector<double>>;

/// The order of every check.
inline constexpr DType kNumberTypes[] = {DType::f64, DType::f32};

/// A file of tensors by the names of the reference, without the suffix ::complex.
class NumberFile {
 public:
  explicit NumberFile(const std::filesystem::path& path);
  /// Undefined if there is none; complex tensors are complex.
  Tensor find(const std::string& name) const;
  /// In the order of the file.
  const std::vector<std::string>& names() const { return names_; }

 private:
  SafetensorsReader reader_;
  std::vector<std::string> names_;
};

/// A case with its numbers in both types. f32 quantities are measured against the f64 numbers, and may be off by three times the largest
/// distance between the reference's own f32 and f64 in their class.
class NeuralopCase {
 public:
  explicit NeuralopCase(Folder& folder);

  const ConfigValue& document() const { return document_; }
  const Folder& folder() const { return folder_; }
  /// Stored in f32 alone: inputs and targets, which the f64 run read upcast. Undefined if there is none.
  Tensor given(const std::string& name);
  /// What the f64 run computed, else what the f32 run did.
  Tensor expected(const std::string& name);
  std::vector<std::string> names_with(const std::string& prefix) const;
  /// The reference's distance between f32 and f64 of one quantity; 0 where one of them is missing.
  double distance(const std::string& name);
  /// Adds the row of one quantity.
  void compare(Rows& rows, DType dtype, const std::string& name, const std::vector<double>& actual, double class_distance);
  /// Every gradient (`prefix` before the names), and all together. Those of `zero` are left out.
  void compare_gradients(Rows& rows, DType dtype, const std::string& prefix, const NumbersByName& actual,
                         const std::vector<std::string>& zero);
  /// The running statistics that were recorded after the pass.
  void compare_state(Rows& rows, DType dtype, const ParameterList& parameters);
  Rows unused() const;

 private:
  double error_of_state(const std::string& name, const std::vector<double>& actual);

  Folder& folder_;
  ConfigValue document_;
  NumberFile narrow_;
  std::optional<NumberFile> wide_;
  std::vector<std::string> taken_;
};

/// Whether case.json says that the folder is of this kind.
bool is_neuralop(const Folder& folder, const std::string& kind);
/// The loss that a case describes as {class, d, ...}.
NormLoss norm_loss_of(const ConfigValue& document);
/// FNO or TFNO by the arguments in case.json.
Model model_of(const ConfigValue& arguments, const std::string& kind, const Mesh& mesh = Mesh());
ConfigValue config_of(const ConfigValue& arguments, const std::string& kind);
/// The reference's AdamW with the constants that a case records.
AdamWOptions adamw_of(const ConfigValue& recipe);
/// Gradients that vanish but for rounding, which a case names instead of recording them.
std::vector<std::string> zero_gradients(const ConfigValue& distances);
/// Copies the named tensors into parameters and buffers; a failed row for each that is missing or has another shape.
Rows load_weights(const ParameterList& parameters, const NumberFile& weights);
/// Values or gradients of all parameters: whole on the first rank, on the others none. Collective.
NumbersByName pieces_of(const ParameterList& parameters, Tensor NamedPiece::*what, const Mesh& mesh);
/// This rank's share of the loss that case.json names, of `output` and `label` (MeshCase::label()), as `of_model` cuts it into patches.
Tensor share_of_loss(const ConfigValue& description, LossDescription of_model, const Tensor& output, const Tensor& label,
                     const MeshCase& on_mesh);
/// A copy in the number type, or the complex type of that precision, on the device.
Tensor in_precision(const Tensor& x, DType dtype, Device device = {});

bool matches_neuralop_model(const Folder& folder);
Rows check_neuralop_model(Folder& folder, const Options& options);
bool matches_neuralop_resolutions(const Folder& folder);
Rows check_neuralop_resolutions(Folder& folder, const Options& options);
bool matches_spectral_conv(const Folder& folder);
Rows check_spectral_conv(Folder& folder, const Options& options);
bool matches_ranks(const Folder& folder);
Rows check_ranks(Folder& folder, const Options& options);

bool matches_neuralop_losses(const Folder& folder);
Rows check_neuralop_losses(Folder& folder, const Options& options);
bool matches_neuralop_patches(const Folder& folder);
Rows check_neuralop_patches(Folder& folder, const Options& options);
bool matches_neuralop_patched_model(const Folder& folder);
Rows check_neuralop_patched_model(Folder& folder, const Options& options);
bool matches_neuralop_optimizer(const Folder& folder);
Rows check_neuralop_optimizer(Folder& folder, const Options& options);
bool matches_neuralop_schedules(const Folder& folder);
Rows check_neuralop_schedules(Folder& folder, const Options& options);
bool matches_neuralop_normalizer(const Folder& folder);
Rows check_neuralop_normalizer(Folder& folder, const Options& options);
bool matches_neuralop_training(const Folder& folder);
Rows check_neuralop_training(Folder& folder, const Options& options);
bool matches_neuralop_checkpoint(const Folder& folder);
Rows check_neuralop_checkpoint(Folder& folder, const Options& options);

}  // namespace trident::golden
