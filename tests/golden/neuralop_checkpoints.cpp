/// Folders that neuraloperator's trainer or The Well wrote: the model's output, and the training that goes on from them.
#include "checkpoint/model_directory.h"
#include "checkpoint/neuralop_training.h"
#include "models/norm_loss.h"
#include "parallel/optimizer.h"
#include "runtime/autograd/tape.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"
#include "tests/golden/neuralop.h"

namespace trident::golden {
namespace {

/// This rank's part.
Tensor output_of(const LoadedModel& loaded, const MeshCase& on_mesh, const Tensor& whole_input, DType dtype, Mode mode) {
  Pass pass;
  pass.mode = mode;
  pass.precision = dtype;
  const Tensor input = in_precision(on_mesh.part(whole_input), dtype, loaded.parameters.values().device());
  return loaded.model(on_mesh.fields(input, {}, {}, {}), {}, pass);
}

/// Steps from the stored moments, at the rate after the checkpoint, on parts of train/input and train/target; recorded in f32 alone.
void check_resumed(NeuralopCase& numbers, const Options& options, Rows& rows) {
  constexpr double kBound = 1e-5;
  const LoadedModel loaded =
      load_model(numbers.folder().path(), options.mesh, {.dtype = DType::f32, .use = Use::training, .device = options.device});
  const ConfigValue& recipe = *numbers.document().find("optimizer");
  const FlatShares shares(loaded.parameters, options.mesh);
  AdamW optimizer(
      loaded.parameters, adamw_of(recipe), {recipe.find("weight_decay")->as_number()}, [](const std::string&) { return 0; }, shares);
  const auto training = load_neuralop_training(numbers.folder().path(), optimizer.state());
  if (!training) return rows.push_back(failed("resumed", "the folder has no optimizer.pt"));
  rows.push_back({"learning rate", std::abs(training->learning_rate - numbers.document().find("lr_after_checkpoint")->as_number()), 0.0});
  rows.push_back(
      {"epoch", std::abs(static_cast<double>(training->epoch.value_or(-1) - numbers.document().find("epoch")->as_integer())), 0.0});
  const Tensor inputs = numbers.given("train/input"), targets = in_precision(numbers.given("train/target"), DType::f32, options.device);
  std::vector<double> losses, expected;
  for (const ConfigValue& loss : numbers.document().find("resumed_losses")->elements()) expected.push_back(loss.as_number());
  const auto batch = inputs.size(0) / static_cast<std::int64_t>(expected.size());
  for (std::size_t step = 1; step <= expected.size(); ++step) {
    loaded.parameters.zero_gradients();
    const std::int64_t first = batch * static_cast<std::int64_t>(step - 1);
    const auto part = [&](const Tensor& all) { return packed(view::slice(all, 0, first, first + batch)); };
    const MeshCase on_mesh(loaded.model, options.mesh, part(inputs));
    const Tensor output = output_of(loaded, on_mesh, part(inputs), DType::f32, Mode::train);
    const Tensor share =
        share_of_loss(*numbers.document().find("loss"), loaded.model->loss(), output, on_mesh.label(part(targets)), on_mesh);
    reduced_backward(share, loaded.parameters, options.mesh);
    losses.push_back(summed(to_number(share), options.mesh));
    optimizer.update(training->step + static_cast<std::int64_t>(step), std::vector{training->learning_rate},
                     full({1}, 1.0, DType::f64, options.device));
  }
  const NumbersByName values = pieces_of(loaded.parameters, &NamedPiece::value, options.mesh);
  rows.push_back({"f32 resumed losses", relative_error(losses, expected), kBound});
  for (const auto& [name, value] : values) {
    rows.push_back({"f32 resumed/" + name, relative_error(value, all_numbers(numbers.given("resumed/" + name))), kBound});
  }
}

}  // namespace

bool matches_neuralop_checkpoint(const Folder& folder) {
  if (!folder.has("case.json")) return false;
  const ConfigValue document = folder.json("case.json");
  const ConfigValue* kind = document.kind() == ConfigValue::Kind::map ? document.find("kind") : nullptr;
  return kind != nullptr && kind->kind() == ConfigValue::Kind::string && kind->as_string() == "checkpoint";
}

Rows check_neuralop_checkpoint(Folder& folder, const Options& options) {
  NeuralopCase numbers(folder);
  Rows rows;
  const Tensor input = numbers.given("input");
  require_mesh(read_model_config(folder.path()), input, options);
  for (const DType dtype : kNumberTypes) {
    const Recording off(false);
    const LoadedModel loaded = load_model(folder.path(), options.mesh, {.dtype = dtype, .device = options.device});
    const MeshCase on_mesh(loaded.model, options.mesh, input);
    const Tensor output = on_mesh.whole_output(output_of(loaded, on_mesh, input, dtype, Mode::eval));
    if (on_mesh.is_first()) numbers.compare(rows, dtype, "output", all_numbers(output), numbers.distance("output"));
  }
  if (numbers.document().find("resumed_losses") != nullptr) check_resumed(numbers, options, rows);
  const Rows unused = numbers.unused();
  rows.insert(rows.end(), unused.begin(), unused.end());
  return rows;
}

}  // namespace trident::golden
