/// Roll-outs by equal parts of the lead time and by a list of fractions, in f64.
#include "models/rollout.h"

#include "runtime/autograd/tape.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"
#include "tests/golden/scot.h"

namespace trident::golden {
namespace {

std::vector<double> fractions_of(const ConfigValue& steps) {
  if (steps.kind() == ConfigValue::Kind::integer) return equal_steps(steps.as_integer());
  std::vector<double> fractions;
  for (const ConfigValue& fraction : steps.elements()) fractions.push_back(fraction.as_number());
  return fractions;
}

}  // namespace

bool matches_rollout(const Folder& folder) {
  return is_scot(folder) && folder.has("case.json") && folder.json("case.json").find("rollouts") != nullptr;
}

Rows check_rollout(Folder& folder, const Options& options) {
  const Recording off(false);
  const ConfigValue document = folder.json("case.json");
  Rows rows = unknown_keys(document, {"batch", "rollouts"});
  const LoadedModel loaded = load_model(folder, DType::f64, Use::inference, options);
  Pass pass;
  pass.precision = DType::f64;
  const Fields fields = on_device({.input = folder.take("input"), .time = folder.take("time"), .pixel_mask = folder.take("pixel_mask"),
                                   .label = folder.take("label")}, options.device);
  for (const auto& [name, steps] : document.find("rollouts")->entries()) {
    const Tensor expected = folder.take("output.f64/" + name);
    if (!expected.defined()) {
      rows.push_back(failed("f64 " + name, "no output was recorded"));
      continue;
    }
    const std::vector<double> fractions = fractions_of(steps);
    const Tensor outputs = zeros(expected.shape(), DType::f64);
    roll_out(loaded.model, loaded.model->prepare(), fields, fractions, pass, [&](std::size_t step, const Tensor& output) {
      const auto index = static_cast<std::int64_t>(step);
      const Tensor slot = view::slice(outputs, 1, index, index + 1);
      copy_into(slot, view::reshape(packed(output), slot.shape()));
    });
    const bool same_count = expected.size(1) == static_cast<std::int64_t>(fractions.size());
    rows.push_back(same_count ? Row{"f64 " + name, relative_error(outputs, expected), kF64Bound} : failed("f64 " + name, "another number of steps was recorded"));
  }
  return rows;
}

}  // namespace trident::golden
