/// Multi-grid patches: cutting and stitching alone, and an FNO on them through what the reference's data processor does around it.
#include <array>

#include "models/mg_tfno/mg_tfno.h"
#include "models/mg_tfno/patch_exchange.h"
#include "models/unit_gaussian.h"
#include "runtime/autograd/tape.h"
#include "runtime/ops/elementwise.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"
#include "tests/golden/neuralop.h"

namespace trident::golden {
namespace {

PatchingConfig patching_of(const ConfigValue& document) {
  PatchingConfig patching{.levels = static_cast<int>(document.find("levels")->as_integer()), .padding_fraction = {}};
  const ConfigValue& fraction = *document.find("padding_fraction");
  if (fraction.kind() == ConfigValue::Kind::list) {
    patching.padding_fraction = read_config<std::array<double, 2>>(fraction);
  } else {
    patching.padding_fraction.fill(fraction.as_number());
  }
  return patching;
}

/// The mg_tfno of the FNO that a case describes: its input channels are those of all levels.
ConfigValue model_document(const ConfigValue& document) {
  ConfigValue config = *document.find("arguments");
  const std::int64_t levels = document.find("levels")->as_integer();
  config.set("levels", levels);
  config.set("padding_fraction", *document.find("padding_fraction"));
  config.set("stitching", *document.find("stitching"));
  config.set("in_channels", config.find("in_channels")->as_integer() / (levels + 1));
  return config;
}

class PatchedModelCheck {
 public:
  PatchedModelCheck(Folder& folder, const Options& options) : numbers_(folder), document_(numbers_.document()), options_(options) {}

  Rows run() {
    rows_ = unknown_keys(document_, {"kind", "seed", "model", "arguments", "levels", "padding_fraction", "stitching", "normalized", "loss",
                                     "input_shape", "patched_shape", "scalars_f32", "scalars_f64", "f32_vs_f64"});
    ConfigValue config = model_document(document_);
    config.set("type", "mg_tfno");
    require_mesh(config, numbers_.given("input"), options_);
    for (const DType dtype : kNumberTypes) check(dtype);
    const Rows unused = numbers_.unused();
    rows_.insert(rows_.end(), unused.begin(), unused.end());
    return std::move(rows_);
  }

 private:
  Tensor given(const std::string& name, DType dtype) { return in_precision(numbers_.given(name), dtype, options_.device); }

  /// Of fields of this shape: a mean and a deviation for every number.
  UnitGaussian normalizer(const std::string& of, const Shape& shape, DType dtype, const MeshCase* on_mesh = nullptr) {
    const auto number = [&](const char* what) {
      const Tensor whole =
          zeros(shape, dtype, options_.device) + in_precision(numbers_.expected("normalizer/" + of + what), dtype, options_.device);
      return on_mesh == nullptr ? whole : on_mesh->part(whole);
    };
    return {number("_mean"), number("_std")};
  }

  void compare(DType dtype, const std::string& name, const Tensor& actual) {
    if (options_.mesh.world().rank() == 0) numbers_.compare(rows_, dtype, name, all_numbers(actual), numbers_.distance(name));
  }

  /// What the reference computes the loss of: whole fields, or patches of both.
  Tensor as_lost(const Tensor& field, const PatchGrid& grid) const {
    return document_.find("stitching")->as_bool() ? field : cut_into_patches(field, grid.per_side);
  }

  void check_losses(DType dtype, const std::string& prefix, const Tensor& output, const Tensor& target) {
    for (const auto& [name, kind] : {std::pair{"l2", NormKind::lp}, std::pair{"h1", NormKind::h1}}) {
      compare(dtype, prefix + name, norm_loss({.kind = kind}, output, target));
    }
  }

  void check(DType dtype) {
    const auto operator_on_patches = std::make_shared<MgTfno>(model_document(document_), options_.mesh);
    const Model model(operator_on_patches);
    const ParameterList parameters = materialize(model, dtype, Use::training, std::nullopt, {}, options_.device);
    const Rows problems = load_weights(parameters, NumberFile(numbers_.folder().path() / "weights.safetensors"));
    rows_.insert(rows_.end(), problems.begin(), problems.end());
    Tensor input = given("input", dtype);
    const PatchGrid grid(patching_of(document_), input.size(2), input.size(3));
    const bool normalized = document_.find("normalized")->as_bool();
    if (normalized) input = normalizer("input", input.shape(), dtype).encode(input);
    const MeshCase on_mesh(model, options_.mesh, input);
    Pass pass;
    pass.mode = Mode::train;
    pass.precision = dtype;
    Tensor label = given("target", dtype);
    const Shape shape = label.shape();
    const auto predicted = [&] {
      const Tensor output = model(on_mesh.fields(on_mesh.part(input), {}, {}, {}), {}, pass);
      return normalized ? normalizer("target", shape, dtype, &on_mesh).decode(output) : output;
    };
    const Tensor output = predicted();
    if (normalized) label = normalizer("target", shape, dtype).encode(label);
    if (dtype == DType::f32) compare(dtype, "patched_target", as_lost(label, grid));  // recorded in f32 alone
    if (normalized) label = normalizer("target", shape, dtype).decode(label);
    const Tensor share = share_of_loss(*document_.find("loss"), model->loss(), output, on_mesh.label(label), on_mesh);
    reduced_backward(share, parameters, options_.mesh);
    compare(dtype, "loss", from_values<double>({1}, std::vector{summed(to_number(share), options_.mesh)}));
    const Tensor whole = on_mesh.whole_output(output);
    const NumbersByName gradients = pieces_of(parameters, &NamedPiece::gradient, options_.mesh);
    if (on_mesh.is_first()) numbers_.compare_state(rows_, dtype, parameters);
    pass.mode = Mode::eval;
    const Tensor evaluated = on_mesh.whole_output(predicted());
    pass.mode = Mode::train;
    check_windows(dtype, *operator_on_patches, input, on_mesh, grid, pass);  // last, as it advances running statistics
    if (!on_mesh.is_first()) return;
    check_fields(dtype, to_device(whole, options_.device), label, grid);
    check_evaluation(dtype, to_device(evaluated, options_.device), label);
    numbers_.compare_gradients(rows_, dtype, "grad/", gradients, zero_gradients(*document_.find("f32_vs_f64")));
  }

  /// What the operator gets, and its raw output: of an FNO without levels on the patches' windows, with their padding.
  void check_windows(DType dtype, const MgTfno& model, const Tensor& input, const MeshCase& on_mesh, const PatchGrid& grid,
                     const Pass& pass) {
    const Recording off(false);
    const std::int64_t patches = input.size(0) * grid.patches();
    const PatchUnits own = on_mesh.units().value_or(PatchUnits{.units = {0, patches}, .samples = input.size(0), .windows = false});
    const Tensor windows =
        on_mesh.units() ? exchanged_windows(on_mesh.part(input), grid, own, options_.mesh) : multigrid_patches(input, grid);
    const auto compare_units = [&](const char* name, const Tensor& part) {
      compare(dtype, name, on_mesh.units() ? all_rows(part, own.units, patches, options_.mesh) : part);
    };
    compare_units("patched_input", windows);
    compare_units("model_output", model.on_windows(windows, pass));
  }

  void check_fields(DType dtype, const Tensor& output, const Tensor& label, const PatchGrid& grid) {
    compare(dtype, "output", as_lost(output, grid));
    compare(dtype, "target_after", as_lost(label, grid));
    check_losses(dtype, "loss/", as_lost(output, grid), as_lost(label, grid));
  }

  void check_evaluation(DType dtype, const Tensor& output, const Tensor& label) {
    compare(dtype, "evaluation_output", output);
    compare(dtype, "evaluation_target", label);
    check_losses(dtype, "evaluation_loss/", output, label);
  }

  NeuralopCase numbers_;
  const ConfigValue& document_;
  const Options& options_;
  Rows rows_;
};

/// The windows of all patches, which the ranks of data and domain cut out together.
Tensor shared_windows(const Tensor& field, const PatchGrid& grid, const Mesh& mesh) {
  const std::int64_t patches = field.size(0) * grid.patches();
  const AxisSet axes = (Axis::data | Axis::domain_y) | Axis::domain_x;
  const Range own = part_of(patches, mesh.size(axes), mesh.comm(axes).rank());
  const Tensor part = packed(view::slice(cut_into_patches(field, grid.per_side), 0, own.first, own.last));
  return all_rows(exchanged_windows(part, grid, {.units = own, .samples = field.size(0), .windows = false}, mesh), own, patches, mesh);
}

}  // namespace

bool matches_neuralop_patches(const Folder& folder) { return is_neuralop(folder, "mg_patches"); }

Rows check_neuralop_patches(Folder& folder, const Options& options) {
  NeuralopCase numbers(folder);
  Rows rows = unknown_keys(numbers.document(), {"kind", "seed", "entries"});
  const auto exact = [&](const std::string& name, const Tensor& actual) {
    const Tensor expected = numbers.given(name);
    const bool same = expected.defined() && expected.shape() == actual.shape();
    rows.push_back(same ? Row{name, relative_error(actual, expected), 0.0} : failed(name, "was not recorded in this shape"));
  };
  for (const ConfigValue& entry : numbers.document().find("entries")->elements()) {
    const std::string prefix = entry.find("name")->as_string() + "/";
    const Tensor input = numbers.given(prefix + "input"), target = numbers.given(prefix + "target");
    const PatchGrid grid(patching_of(entry), input.size(2), input.size(3));
    const ConfigValue& padding = *entry.find("padding_pixels");
    rows.push_back({prefix + "padding_pixels",
                    std::abs(static_cast<double>(grid.padding_rows) - padding.elements()[0].as_number()) +
                        std::abs(static_cast<double>(grid.padding_columns) - padding.elements()[1].as_number()),
                    0.0});
    const Tensor cropped = without_padding(numbers.given(prefix + "model_output"), grid);
    exact(prefix + "patched_input", multigrid_patches(input, grid));
    if (options.mesh.world().size() > 1) exact(prefix + "patched_input", shared_windows(input, grid, options.mesh));
    exact(prefix + "patched_target", cut_into_patches(target, grid.per_side));
    exact(prefix + "unpadded", cropped);
    exact(prefix + "stitched", stitched(cropped, grid));
  }
  const Rows unused = numbers.unused();
  rows.insert(rows.end(), unused.begin(), unused.end());
  return rows;
}

bool matches_neuralop_patched_model(const Folder& folder) { return is_neuralop(folder, "mg_loss"); }

Rows check_neuralop_patched_model(Folder& folder, const Options& options) { return PatchedModelCheck(folder, options).run(); }

}  // namespace trident::golden
