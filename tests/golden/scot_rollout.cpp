/// Roll-outs by equal parts of the lead time and by a list of fractions, in f64.
#include "models/rollout.h"

#include "runtime/autograd/tape.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"
#include "tests/golden/mesh_case.h"
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
  const Tensor input = folder.take("input");
  require_mesh(folder.json("config.json"), input, options);
  const LoadedModel loaded = load_model(folder, DType::f64, Use::inference, options);
  const MeshCase on_mesh(loaded.model, options.mesh, input);
  Pass pass;
  pass.precision = DType::f64;
  const auto own = [&](const Tensor& whole, DType type) { return on_device(on_mesh.part(whole), type, options); };
  const Fields fields = on_mesh.fields(own(input, DType::f64), own(folder.take("time"), DType::f64),
                                       own(folder.take("pixel_mask"), DType::boolean), own(folder.take("label"), DType::f64));
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
      const Tensor slot = view::slice(outputs, 1, index, index + 1), whole = on_mesh.whole_output(output);
      if (whole.defined()) copy_into(slot, view::reshape(packed(whole), slot.shape()));
    });
    const bool same_count = expected.size(1) == static_cast<std::int64_t>(fractions.size());
    rows.push_back(same_count ? Row{"f64 " + name, relative_error(outputs, expected), kF64Bound}
                              : failed("f64 " + name, "another number of steps was recorded"));
  }
  return rows;
}

}  // namespace trident::golden
