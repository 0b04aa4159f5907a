/// A Fourier neural operator on multi-grid patches (Kossaifi et al. 2023). neuraloperator has no such class: its data processor cuts and
/// stitches around an FNO; names of parameters are that FNO's.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <utility>

#include "models/fno/fno.h"
#include "models/mg_tfno/multigrid_patches.h"
#include "models/model.h"
#include "parallel/mesh.h"

namespace trident {

/// What tells a patch where it is. patch: coordinates of its own, from 0 to 1, appended inside the operator, as neuraloperator does today:
/// it does not know its place. field: the field's coordinates, cut into windows as its channels are, as the paper describes. none: nothing.
enum class PatchPosition { patch, field, none };
inline auto config_names(PatchPosition) {
  return std::array{std::pair{PatchPosition::patch, "patch"}, std::pair{PatchPosition::field, "field"},
                    std::pair{PatchPosition::none, "none"}};
}

struct MgTfnoConfig {
  int levels = 1;
  ConfigValue padding_fraction = 0.0;  // of the field, on each side of a patch: a number, or one for rows and one for columns
  BeyondEdge padding_mode = BeyondEdge::periodic;
  bool stitching = true;  // the training loss is of whole fields; false: of each patch by itself
  PatchPosition position = PatchPosition::patch;

  static void visit(auto& self, auto& v) {
    v("levels", self.levels), v("padding_fraction", self.padding_fraction), v("padding_mode", self.padding_mode);
    v("stitching", self.stitching), v("position", self.position);
  }
  PatchingConfig patching() const;
};

/// Throws ConfigError for keys that neither this model nor its operator has, and values of the wrong type.
void check_mg_tfno_keys(const ConfigValue& document);

class MgTfno final : public ModelInterface {
 public:
  /// `document`: its own keys and those of a tfno, whose in_channels are the field's. Throws ConfigError.
  MgTfno(const ConfigValue& document, const Mesh& mesh);

  void visit(const ParameterVisitor& visitor) override { fno_->visit(visitor); }
  Prepared prepare() const override { return {}; }
  /// Whole fields, or the windows or patches of the units that `fields.patches` names: then the output is (unit, out channel, rows,
  /// columns). Collective over data and domain where patches are given without windows.
  Tensor call(const Fields& fields, const Prepared& prepared, const Pass& pass, std::vector<Tensor>* hidden) const override;
  /// The operator alone on windows with all its channels, whose padding stays: (unit, out channel, window rows, window columns).
  Tensor on_windows(const Tensor& windows, const Pass& pass, std::vector<Tensor>* hidden = nullptr) const {
    return fno_->call({.input = windows, .time = {}, .pixel_mask = {}, .label = {}}, {}, pass, hidden);
  }
  ConfigValue config() const override;
  std::string type() const override { return "mg_tfno"; }
  int num_channels() const override { return num_channels_; }
  int num_out_channels() const override { return fno_->num_out_channels(); }
  int num_dims() const override { return 2; }
  Rectangle rectangle(std::int64_t ny, std::int64_t nx) const override { return {.rows = {0, ny}, .columns = {0, nx}}; }
  std::vector<std::int64_t> output_extents(const std::vector<std::int64_t>& extents) const override;
  bool uses_time() const override { return false; }
  LossDescription loss() const override;
  double forward_flops(std::int64_t batch, const std::vector<std::int64_t>& extents) const override;
  std::optional<PatchingConfig> patching() const override { return config_.patching(); }

 private:
  Tensor windows_of(const Fields& fields, const PatchGrid& grid, const std::shared_ptr<const WindowIndices>& indices,
                    DType precision) const;
  Tensor with_coordinates(const Tensor& windows, const PatchGrid& grid, const WindowIndices& indices) const;

  MgTfnoConfig config_;
  ConfigValue operator_keys_;  // of the operator, with the field's channels
  int num_channels_;
  std::unique_ptr<Fno> fno_;
  Mesh mesh_;
};

}  // namespace trident
