/// One forward and backward pass of an FNO or TFNO: output, loss and every gradient, in f64 and f32.
#include <cmath>

#include "runtime/autograd/tape.h"
#include "runtime/tensor/create.h"
#include "tests/golden/mesh_case.h"
#include "tests/golden/neuralop.h"

namespace trident::golden {
namespace {

bool is_kind(const Folder& folder, const char* kind) {
  return is_neuralop(folder, kind) && folder.json("case.json").find("arguments") != nullptr;
}

struct Loaded {
  Model model;
  ParameterList parameters;
  Mesh mesh;
};

Loaded load(const ConfigValue& document, const NumberFile& weights, DType dtype, const Options& options, Rows& rows) {
  Loaded loaded{model_of(*document.find("arguments"), document.find("model")->as_string(), options.mesh), {}, options.mesh};
  loaded.parameters = materialize(loaded.model, dtype, Use::training, std::nullopt, {}, options.device);
  const Rows problems = load_weights(loaded.parameters, weights);
  rows.insert(rows.end(), problems.begin(), problems.end());
  return loaded;
}

/// One pass on the quantities whose names begin with `prefix`.
struct PassCheck {
  NeuralopCase& numbers;
  const Loaded& loaded;
  std::string prefix;
  DType dtype;
  std::vector<std::string> zero;

  Pass pass(Mode mode) const {
    Pass result;
    result.mode = mode;
    result.precision = dtype;
    return result;
  }

  Tensor given(const std::string& name) const {
    return in_precision(numbers.given(prefix + name), parameter_type(dtype), loaded.parameters.values().device());
  }

  void run(Rows& rows) const {
    const Tensor whole = given("input");
    const MeshCase on_mesh(loaded.model, loaded.mesh, whole);
    const Tensor input = leaf(on_mesh.part(whole)), target = on_mesh.label(given("target"));
    const Tensor output = loaded.model(on_mesh.fields(input, {}, {}, {}), {}, pass(Mode::train));
    const Tensor share = share_of_loss(*numbers.document().find("loss"), loaded.model->loss(), output, target, on_mesh);
    reduced_backward(share, loaded.parameters, loaded.mesh);
    const double loss = summed(to_number(share), loaded.mesh);
    const Tensor found = on_mesh.whole_output(output), input_gradient = on_mesh.whole_input_gradient(gradient_of(input));
    const NumbersByName gradients = pieces_of(loaded.parameters, &NamedPiece::gradient, loaded.mesh);
    if (!on_mesh.is_first()) return;
    numbers.compare(rows, dtype, prefix + "output", all_numbers(found), numbers.distance(prefix + "output"));
    numbers.compare(rows, dtype, prefix + "loss", {loss}, numbers.distance(prefix + "loss"));
    numbers.compare(rows, dtype, prefix + "grad/input", all_numbers(input_gradient), numbers.distance(prefix + "grad/input"));
    const std::vector<std::string> recorded = numbers.names_with(prefix + "grad/");
    if (recorded == std::vector<std::string>{prefix + "grad/input"}) return;  // at other resolutions that of the input alone
    numbers.compare_gradients(rows, dtype, prefix + "grad/", gradients, zero);
  }

  /// In bf16 the output alone has a bound.
  void run_in_bf16(Rows& rows) const {
    const Tensor input = given("input");
    const MeshCase on_mesh(loaded.model, loaded.mesh, input);
    const Tensor output = on_mesh.whole_output(loaded.model(on_mesh.fields(on_mesh.part(input), {}, {}, {}), {}, pass(Mode::train)));
    if (!on_mesh.is_first()) return;
    const std::string name = prefix + "output";
    rows.push_back({"bf16 " + name, relative_error(all_numbers(output), all_numbers(numbers.expected(name))), kBf16OutputBound});
  }

  /// The state after the pass, and the output in evaluation.
  void check_state(Rows& rows) const {
    numbers.compare_state(rows, dtype, loaded.parameters);
    if (!numbers.expected("evaluation_output").defined()) return;
    const Tensor input = given("input");
    const MeshCase on_mesh(loaded.model, loaded.mesh, input);
    const Tensor output = on_mesh.whole_output(loaded.model(on_mesh.fields(on_mesh.part(input), {}, {}, {}), {}, pass(Mode::eval)));
    if (on_mesh.is_first()) numbers.compare(rows, dtype, "evaluation_output", all_numbers(output), numbers.distance("evaluation_output"));
  }
};

void check_count(const ConfigValue& document, const ParameterList& parameters, Rows& rows) {
  const ConfigValue* count = document.find("parameters");
  if (count == nullptr) return;
  std::int64_t total = 0;
  for (const NamedPiece& piece : parameters.pieces()) total += numel(piece.piece.full_shape) * (is_complex(piece.value.dtype()) ? 2 : 1);
  rows.push_back({"parameters (difference)", std::fabs(static_cast<double>(total) - count->as_number()), 0.0});
}

void append(Rows& rows, const Rows& more) { rows.insert(rows.end(), more.begin(), more.end()); }

}  // namespace

bool matches_neuralop_model(const Folder& folder) { return is_kind(folder, "model") && folder.has("weights.safetensors"); }

Rows check_neuralop_model(Folder& folder, const Options& options) {
  NeuralopCase numbers(folder);
  const ConfigValue& document = numbers.document();
  Rows rows = unknown_keys(document, {"kind", "model", "seed", "arguments", "input_shape", "output_shape", "loss", "loss_f32", "loss_f64",
                                      "parameters", "release_2.0.0_differs_by", "f32_vs_f64"});
  const NumberFile weights(folder.path() / "weights.safetensors");
  numbers.given("output_release_2.0.0");
  const ConfigValue config = config_of(*document.find("arguments"), document.find("model")->as_string());
  require_mesh(config, numbers.given("input"), options);
  for (const DType dtype : kNumberTypes) {
    const Loaded loaded = load(document, weights, dtype, options, rows);
    if (dtype == DType::f64) check_count(document, loaded.parameters, rows);
    const PassCheck check{numbers, loaded, "", dtype, zero_gradients(*document.find("f32_vs_f64"))};
    check.run(rows);
    check.check_state(rows);
  }
  if (options.device.kind == Device::Kind::cuda) {
    PassCheck{numbers, load(document, weights, DType::bf16, options, rows), "", DType::bf16, {}}.run_in_bf16(rows);
  }
  append(rows, numbers.unused());
  return rows;
}

bool matches_neuralop_resolutions(const Folder& folder) { return is_kind(folder, "resolutions"); }

Rows check_neuralop_resolutions(Folder& folder, const Options& options) {
  NeuralopCase numbers(folder);
  const ConfigValue& document = numbers.document();
  Rows rows =
      unknown_keys(document, {"kind", "model", "seed", "weights", "sizes", "arguments", "loss", "release_2.0.0_differs_by", "f32_vs_f64"});
  const NumberFile weights(folder.path() / document.find("weights")->as_string());
  for (const ConfigValue& size : document.find("sizes")->elements()) {
    std::string name;
    for (const ConfigValue& extent : size.elements()) name += concat(name.empty() ? "" : "x", extent.as_integer());
    numbers.given(name + "/output_release_2.0.0");
    const ConfigValue config = config_of(*document.find("arguments"), document.find("model")->as_string());
    require_mesh(config, numbers.given(name + "/input"), options);
    std::vector<std::string> zero = zero_gradients(*document.find("f32_vs_f64")->find(name));
    for (std::string& gradient : zero) gradient.insert(0, name + "/");  // recorded without the size, as the worst gradient is
    for (const DType dtype : kNumberTypes) {
      const Loaded loaded = load(document, weights, dtype, options, rows);
      PassCheck{numbers, loaded, name + "/", dtype, zero}.run(rows);
    }
    if (options.device.kind == Device::Kind::cuda) {
      PassCheck{numbers, load(document, weights, DType::bf16, options, rows), name + "/", DType::bf16, {}}.run_in_bf16(rows);
    }
  }
  append(rows, numbers.unused());
  return rows;
}

}  // namespace trident::golden
