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

Tensor output_of(const LoadedModel& loaded, const Tensor& input, DType dtype, Mode mode) {
  Pass pass;
  pass.mode = mode;
  pass.precision = dtype;
  const Tensor there = in_precision(input, dtype, loaded.parameters.values().device());
  return loaded.model({.input = there, .time = {}, .pixel_mask = {}, .label = {}}, {}, pass);
}

/// Steps from the stored moments, at the rate after the checkpoint, on parts of train/input and train/target; recorded in f32 alone.
void check_resumed(NeuralopCase& numbers, Rows& rows) {
  constexpr double kBound = 1e-5;
  const Device device = numbers.folder().device();
  const LoadedModel loaded = load_model(numbers.folder().path(), Mesh(), {.dtype = DType::f32, .use = Use::training, .device = device});
  const ConfigValue& recipe = *numbers.document().find("optimizer");
  const auto& betas = recipe.find("betas")->elements();
  const AdamWOptions options{
      .rule = AdamWRule::neuralop, .beta1 = betas[0].as_number(), .beta2 = betas[1].as_number(), .eps = recipe.find("eps")->as_number()};
  AdamW optimizer(loaded.parameters, options, {recipe.find("weight_decay")->as_number()}, [](const std::string&) { return 0; });
  const auto training = load_neuralop_training(numbers.folder().path(), optimizer.state());
  if (!training) return rows.push_back(failed("resumed", "the folder has no optimizer.pt"));
  rows.push_back({"learning rate", std::abs(training->learning_rate - numbers.document().find("lr_after_checkpoint")->as_number()), 0.0});
  rows.push_back(
      {"epoch", std::abs(static_cast<double>(training->epoch.value_or(-1) - numbers.document().find("epoch")->as_integer())), 0.0});
  const Tensor inputs = numbers.given("train/input"), targets = in_precision(numbers.given("train/target"), DType::f32, device);
  std::vector<double> losses, expected;
  for (const ConfigValue& loss : numbers.document().find("resumed_losses")->elements()) expected.push_back(loss.as_number());
  const auto batch = inputs.size(0) / static_cast<std::int64_t>(expected.size());
  for (std::size_t step = 1; step <= expected.size(); ++step) {
    loaded.parameters.zero_gradients();
    const std::int64_t first = batch * static_cast<std::int64_t>(step - 1);
    const Tensor output = output_of(loaded, view::slice(inputs, 0, first, first + batch), DType::f32, Mode::train);
    const Tensor loss = loss_of(*numbers.document().find("loss"), output, packed(view::slice(targets, 0, first, first + batch)));
    backward(loss);
    losses.push_back(to_number(loss));
    optimizer.update(training->step + static_cast<std::int64_t>(step), std::vector{training->learning_rate},
                     full({1}, 1.0, DType::f64, device));
  }
  rows.push_back({"f32 resumed losses", relative_error(losses, expected), kBound});
  for (const NamedPiece& piece : loaded.parameters.pieces()) {
    const std::string name = "resumed/" + piece.name;
    rows.push_back({"f32 " + name, relative_error(all_numbers(piece.value), all_numbers(numbers.given(name))), kBound});
  }
}

}  // namespace

bool matches_neuralop_checkpoint(const Folder& folder) {
  if (!folder.has("case.json")) return false;
  const ConfigValue document = folder.json("case.json");
  const ConfigValue* kind = document.kind() == ConfigValue::Kind::map ? document.find("kind") : nullptr;
  return kind != nullptr && kind->kind() == ConfigValue::Kind::string && kind->as_string() == "checkpoint";
}

Rows check_neuralop_checkpoint(Folder& folder, const Options&) {
  NeuralopCase numbers(folder);
  Rows rows;
  for (const DType dtype : kNumberTypes) {
    const Recording off(false);
    const LoadedModel loaded = load_model(folder.path(), Mesh(), {.dtype = dtype, .device = folder.device()});
    numbers.compare(rows, dtype, "output", all_numbers(output_of(loaded, numbers.given("input"), dtype, Mode::eval)),
                    numbers.distance("output"));
  }
  if (numbers.document().find("resumed_losses") != nullptr) check_resumed(numbers, rows);
  const Rows unused = numbers.unused();
  rows.insert(rows.end(), unused.begin(), unused.end());
  return rows;
}

}  // namespace trident::golden
