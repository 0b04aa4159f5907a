/// Roll-outs by equal parts of the lead time and by a list of fractions, in f64 and on GPUs in bf16.
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

class RolloutCheck {
 public:
  RolloutCheck(Folder& folder, const Options& options)
      : folder_(folder), options_(options), document_(folder.json("case.json")), input_(folder.take("input")) {}

  Rows run() {
    rows_ = unknown_keys(document_, {"batch", "rollouts"});
    require_mesh(folder_.json("config.json"), input_, options_);
    check(DType::f64, kF64Bound);
    if (options_.device.kind == Device::Kind::cuda) check(DType::bf16, kBf16OutputBound);
    return std::move(rows_);
  }

 private:
  /// `bound`: in bf16 of each step, whose errors go into the next.
  void check(DType dtype, double bound) {
    const DType outside = parameter_type(dtype);
    const LoadedModel loaded = load_model(folder_, dtype, Use::inference, options_);
    const MeshCase on_mesh(loaded.model, options_.mesh, input_);
    Pass pass;
    pass.precision = dtype;
    const auto own = [&](const Tensor& whole, DType type) { return on_device(on_mesh.part(whole), type, options_); };
    const Fields fields = on_mesh.fields(own(input_, outside), own(folder_.take("time"), outside),
                                         own(folder_.take("pixel_mask"), DType::boolean), own(folder_.take("label"), outside));
    for (const auto& [name, steps] : document_.find("rollouts")->entries()) {
      const Tensor expected = folder_.take("output.f64/" + name);
      const std::string title = concat(name_of(dtype), " ", name);
      const std::vector<double> fractions = fractions_of(steps);
      if (!expected.defined() || expected.size(1) != static_cast<std::int64_t>(fractions.size())) {
        rows_.push_back(failed(title, "no output of so many steps was recorded"));
        continue;
      }
      const Tensor outputs = zeros(expected.shape(), DType::f64);
      roll_out(loaded.model, loaded.model->prepare(), fields, fractions, pass, [&](std::size_t step, const Tensor& output) {
        const auto index = static_cast<std::int64_t>(step);
        const Tensor slot = view::slice(outputs, 1, index, index + 1), whole = on_mesh.whole_output(output);
        if (whole.defined()) copy_into(slot, view::reshape(packed(whole), slot.shape()));
      });
      rows_.push_back(
          {title, relative_error(outputs, expected), dtype == DType::bf16 ? bound * static_cast<double>(fractions.size()) : bound});
    }
  }

  Folder& folder_;
  const Options& options_;
  ConfigValue document_;
  Tensor input_;
  Rows rows_;
};

}  // namespace

bool matches_rollout(const Folder& folder) {
  return is_scot(folder) && folder.has("case.json") && folder.json("case.json").find("rollouts") != nullptr;
}

Rows check_rollout(Folder& folder, const Options& options) {
  const Recording off(false);
  return RolloutCheck(folder, options).run();
}

}  // namespace trident::golden
