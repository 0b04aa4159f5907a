/// Multi-grid patches: cutting and stitching alone, and an FNO on them through what the reference's data processor does around it.
#include <array>

#include "models/mg_tfno/mg_tfno.h"
#include "models/unit_gaussian.h"
#include "runtime/autograd/tape.h"
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
  explicit PatchedModelCheck(Folder& folder) : numbers_(folder), document_(numbers_.document()) {}

  Rows run() {
    rows_ = unknown_keys(document_, {"kind", "seed", "model", "arguments", "levels", "padding_fraction", "stitching", "normalized", "loss",
                                     "input_shape", "patched_shape", "scalars_f32", "scalars_f64", "f32_vs_f64"});
    for (const DType dtype : kNumberTypes) check(dtype);
    const Rows unused = numbers_.unused();
    rows_.insert(rows_.end(), unused.begin(), unused.end());
    return std::move(rows_);
  }

 private:
  Device device() const { return numbers_.folder().device(); }

  Tensor given(const std::string& name, DType dtype) { return in_precision(numbers_.given(name), dtype, device()); }

  UnitGaussian normalizer(const std::string& of, DType dtype) {
    for (const char* what : {"_mean", "_std"}) numbers_.expected("normalizer/" + of + what);
    const auto number = [&](const char* what) { return in_precision(numbers_.expected("normalizer/" + of + what), dtype, device()); };
    return {number("_mean"), number("_std")};
  }

  void compare(DType dtype, const std::string& name, const Tensor& actual) {
    numbers_.compare(rows_, dtype, name, all_numbers(actual), numbers_.distance(name));
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
    MgTfno model(model_document(document_), Mesh());
    const auto visit = [&](const ParameterVisitor& visitor) { model.visit(visitor); };
    const ParameterList parameters = materialize(visit, dtype, Use::training, std::nullopt, {}, device());
    const Rows problems = load_weights(parameters, NumberFile(numbers_.folder().path() / "weights.safetensors"));
    rows_.insert(rows_.end(), problems.begin(), problems.end());
    Tensor input = given("input", dtype);
    const Tensor target = given("target", dtype);
    const PatchGrid grid(patching_of(document_), input.size(2), input.size(3));
    const bool normalized = document_.find("normalized")->as_bool();
    if (normalized) input = normalizer("input", dtype).encode(input);
    compare(dtype, "patched_input", multigrid_patches(input, grid));
    Pass pass;
    pass.mode = Mode::train;
    pass.precision = dtype;
    Tensor output = model.call({.input = input, .time = {}, .pixel_mask = {}, .label = {}}, {}, pass, nullptr);
    check_raw_output(dtype, model, input, grid, pass);
    Tensor label = target;
    if (normalized) {
      const UnitGaussian of_target = normalizer("target", dtype);
      output = of_target.decode(output);
      label = of_target.encode(target);
      // Recorded in f32 alone.
      if (dtype == DType::f32) compare(dtype, "patched_target", as_lost(label, grid));
      label = of_target.decode(label);
    } else if (dtype == DType::f32) {
      compare(dtype, "patched_target", as_lost(label, grid));
    }
    compare(dtype, "output", as_lost(output, grid));
    compare(dtype, "target_after", as_lost(label, grid));
    check_losses(dtype, "loss/", as_lost(output, grid), as_lost(label, grid));
    const Tensor loss = norm_loss(norm_loss_of(*document_.find("loss")), as_lost(output, grid), as_lost(label, grid));
    compare(dtype, "loss", loss);
    compare(dtype, "evaluation_output", output);
    compare(dtype, "evaluation_target", label);
    check_losses(dtype, "evaluation_loss/", output, label);
    check_gradients(dtype, loss, parameters);
  }

  /// Of the FNO on the windows, with their padding: of an operator without levels on the patches' windows.
  void check_raw_output(DType dtype, const MgTfno& model, const Tensor& input, const PatchGrid& grid, const Pass& pass) {
    const Recording off(false);
    compare(dtype, "model_output", model.on_windows(multigrid_patches(input, grid), pass));
  }

  void check_gradients(DType dtype, const Tensor& loss, const ParameterList& parameters) {
    backward(loss);
    std::map<std::string, std::vector<double>> gradients;
    for (const NamedPiece& piece : parameters.pieces()) gradients[piece.name] = all_numbers(piece.gradient);
    numbers_.compare_gradients(rows_, dtype, "grad/", gradients, {});
  }

  NeuralopCase numbers_;
  const ConfigValue& document_;
  Rows rows_;
};

}  // namespace

bool matches_neuralop_patches(const Folder& folder) { return is_neuralop(folder, "mg_patches"); }

Rows check_neuralop_patches(Folder& folder, const Options&) {
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
    exact(prefix + "patched_target", cut_into_patches(target, grid.per_side));
    exact(prefix + "unpadded", cropped);
    exact(prefix + "stitched", stitched(cropped, grid));
  }
  const Rows unused = numbers.unused();
  rows.insert(rows.end(), unused.begin(), unused.end());
  return rows;
}

bool matches_neuralop_patched_model(const Folder& folder) { return is_neuralop(folder, "mg_loss"); }

Rows check_neuralop_patched_model(Folder& folder, const Options&) { return PatchedModelCheck(folder).run(); }

}  // namespace trident::golden
