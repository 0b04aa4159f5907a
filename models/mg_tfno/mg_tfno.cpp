#include "models/mg_tfno/mg_tfno.h"

#include <algorithm>
#include <array>

#include "models/mg_tfno/patch_exchange.h"
#include "runtime/error.h"
#include "runtime/ops/elementwise.h"
#include "runtime/ops/shape.h"

namespace trident {
namespace {

constexpr std::array kOwnKeys{"levels", "padding_fraction", "padding_mode", "stitching", "position"};

/// The entries of a document that are this model's own, or those that are not.
ConfigValue keys_of(const ConfigValue& document, bool own) {
  ConfigValue keys = ConfigValue::map();
  for (const auto& [key, value] : document.entries()) {
    const bool found = std::ranges::find(kOwnKeys, key) != kOwnKeys.end();
    if (found == own) keys.set(key, value);
  }
  return keys;
}

/// The operator sees every level's channels side by side.
ConfigValue operator_document(const ConfigValue& keys, const MgTfnoConfig& config, int channels) {
  ConfigValue document = with_tfno_defaults(keys);
  document.set("in_channels", (config.levels + 1) * (channels + (config.position == PatchPosition::field ? 2 : 0)));
  if (config.position != PatchPosition::patch) document.set("positional_embedding", ConfigValue());
  return document;
}

/// All keys side by side: the error for an unknown one lists both kinds.
struct AllKeys {
  MgTfnoConfig own;
  FnoConfig of_operator;

  static void visit(auto& self, auto& v) {
    MgTfnoConfig::visit(self.own, v);
    FnoConfig::visit(self.of_operator, v);
  }
};

/// neuraloperator's `positional_embedding: null` says that there is no position.
MgTfnoConfig own_config(const ConfigValue& document) {
  ConfigValue own = keys_of(document, true);
  const ConfigValue* embedding = document.find("positional_embedding");
  if (own.find("position") == nullptr && embedding != nullptr && embedding->is_null()) own.set("position", "none");
  return read_config<MgTfnoConfig>(own, "model");
}

/// Coordinates inside the operator are what position: patch means.
void check_position(const ConfigValue& keys, const MgTfnoConfig& config) {
  const ConfigValue* embedding = keys.find("positional_embedding");
  if (embedding == nullptr || embedding->is_null() == (config.position != PatchPosition::patch)) return;
  throw config_error(keys, "positional_embedding",
                     concat("is ", embedding->described(), ", but model.position is ", write_config(config.position).described(),
                            "; leave it out: position says which coordinates patches get"));
}

}  // namespace

PatchingConfig MgTfnoConfig::patching() const {
  PatchingConfig patching{.levels = levels, .padding_fraction = {}, .padding_mode = padding_mode};
  if (padding_fraction.kind() == ConfigValue::Kind::list) {
    patching.padding_fraction = read_config<std::array<double, 2>>(padding_fraction, "model.padding_fraction");
  } else {
    patching.padding_fraction.fill(read_config<double>(padding_fraction, "model.padding_fraction"));
  }
  return patching;
}

void check_mg_tfno_keys(const ConfigValue& document) { read_config<AllKeys>(document, "model"); }

MgTfno::MgTfno(const ConfigValue& document, const Mesh& mesh)
    : config_(own_config(document)), operator_keys_(keys_of(document, false)), mesh_(mesh) {
  if (mesh.size(Axis::tensor) != 1) {
    throw ConfigError(concat("parallel.tensor: models of type mg_tfno are not split over this axis, and it has ", mesh.size(Axis::tensor),
                             " ranks; set it to 1"));
  }
  const PatchGrid any(config_.patching(), 1 << 7, 1 << 7);  // refuses levels and paddings that fit no field
  check_position(operator_keys_, config_);
  num_channels_ = read_fno_config(with_tfno_defaults(operator_keys_)).in_channels;
  // Ranks share patches, not the operator: it is whole on each of them, and batch_norm sees all their patches.
  fno_ = std::make_unique<Fno>(read_fno_config(operator_document(operator_keys_, config_, num_channels_)), "tfno", Mesh(), mesh_);
  fno_->visit({.parameter = [](const std::string&, Parameter& parameter) { parameter.replicated = AxisSet::all(); }});
  if (fno_->num_dims() != 2 || fno_->is_complex()) {
    throw config_error(operator_keys_, "n_modes",
                       "multi-grid patches are those of real fields of two dimensions; give two numbers of modes");
  }
  if (fno_->uses_time())
    throw config_error(operator_keys_, "norm", "ada_in needs lead times, which patches do not have; choose another norm");
}

Tensor MgTfno::with_coordinates(const Tensor& windows, const PatchGrid& grid, const WindowIndices& indices) const {
  if (config_.position != PatchPosition::field) return windows;
  const Tensor coordinates = window_coordinates(grid, indices, windows.dtype(), windows.device());
  std::vector<Tensor> channels;
  for (std::int64_t level = 0; level <= grid.levels; ++level) {
    channels.push_back(slice(windows, 1, level * num_channels_, (level + 1) * num_channels_));
    channels.push_back(slice(coordinates, 1, 2 * level, 2 * level + 2));
  }
  return concatenate(channels, 1);
}

Tensor MgTfno::windows_of(const Fields& fields, const PatchGrid& grid, const std::shared_ptr<const WindowIndices>& indices,
                          DType precision) const {
  const Tensor input = cast(fields.input, precision);
  if (!fields.patches) return gather_windows(input, indices);
  return fields.patches->windows ? input : exchanged_windows(input, grid, *fields.patches, mesh_);
}

Tensor MgTfno::call(const Fields& fields, const Prepared&, const Pass& pass, std::vector<Tensor>* hidden) const {
  if (fields.input.rank() != 4)
    throw ShapeError(concat("mg_tfno: the input is ", to_string(fields.input.shape()), "; it must be (batch, channel, y, x)"));
  const std::int64_t channels = fields.patches && fields.patches->windows ? (config_.levels + 1) * num_channels_ : num_channels_;
  if (fields.input.size(1) != channels) {
    throw ShapeError(
        concat("mg_tfno: the input ", to_string(fields.input.shape()), " has not ", channels, " channels, as model.in_channels says"));
  }
  const PatchGrid grid(config_.patching(), fields.patches ? fields.ny : fields.input.size(2),
                       fields.patches ? fields.nx : fields.input.size(3));
  const Range units = fields.patches ? fields.patches->units : Range{0, fields.input.size(0) * grid.patches()};
  const auto indices = multigrid_windows(grid, units);
  const Tensor windows = windows_of(fields, grid, indices, parameter_type(pass.precision));
  Pass of_units = pass;  // random numbers belong to units, whichever rank computes them
  of_units.first_sample = pass.first_sample * grid.patches() + units.first;
  const Tensor patches = without_padding(on_windows(with_coordinates(windows, grid, *indices), of_units, hidden), grid);
  return fields.patches ? patches : stitched(patches, grid);
}

ConfigValue MgTfno::config() const {
  ConfigValue document = ConfigValue::map({{"type", type()}});
  const ConfigValue own = write_config(config_), keys = fno_->config();
  for (const auto& [key, value] : own.entries()) document.set(key, value);
  for (const auto& [key, value] : keys.entries()) {
    if (key != "type") document.set(key, value);
  }
  document.set("in_channels", num_channels_);
  return document;
}

std::vector<std::int64_t> MgTfno::output_extents(const std::vector<std::int64_t>& extents) const {
  if (extents.size() != 2) throw ShapeError(concat("mg_tfno: the fields have ", extents.size(), " space dimensions; the model has 2"));
  const PatchGrid refuses_what_does_not_fit(config_.patching(), extents[0], extents[1]);
  return extents;
}

LossDescription MgTfno::loss() const {
  LossDescription loss = fno_->loss();
  loss.patches = PatchLoss{.per_side = 1 << config_.levels, .of_whole_fields = config_.stitching};
  return loss;
}

double MgTfno::forward_flops(std::int64_t batch, const std::vector<std::int64_t>& extents) const {
  if (extents.size() != 2) return 0.0;
  const PatchGrid grid(config_.patching(), extents[0], extents[1]);
  return fno_->forward_flops(batch * grid.patches(), {grid.window_rows(), grid.window_columns()});
}

}  // namespace trident
