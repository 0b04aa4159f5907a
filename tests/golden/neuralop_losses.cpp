/// LpLoss and H1Loss of neuraloperator: values, and gradients with respect to both fields.
#include <algorithm>
#include <cmath>
#include <optional>

#include "models/losses.h"
#include "models/norm_loss.h"
#include "runtime/autograd/tape.h"
#include "runtime/error.h"
#include "runtime/tensor/create.h"
#include "tests/golden/neuralop.h"

namespace trident::golden {
namespace {

std::vector<double> number_list(const ConfigValue& value, int count) {
  if (value.kind() != ConfigValue::Kind::list) return std::vector<double>(static_cast<std::size_t>(count), value.as_number());
  std::vector<double> list;
  for (const ConfigValue& element : value.elements()) list.push_back(element.as_number());
  return list;
}

const ConfigValue* argument(const ConfigValue& call, const char* name) {
  const ConfigValue* value = call.find(name);
  return value == nullptr || value->is_null() ? nullptr : value;
}

/// Entries and the reference's largest distances between f32 and f64 over all of them.
class LossesCheck {
 public:
  LossesCheck(Folder& folder, const Options& options) : numbers_(folder), options_(options) {
    for (const ConfigValue& entry : entries()) {
      const std::string id = entry.find("id")->as_string();
      loss_distance_ = std::max(loss_distance_, relative_error({entry.find("f32")->as_number()}, {entry.find("f64")->as_number()}));
      gradient_distance_ = std::max(gradient_distance_, numbers_.distance(id + "/grad/prediction"));
    }
  }

  Rows run() {
    Rows rows = unknown_keys(numbers_.document(), {"kind", "seed", "entries", "f32_vs_f64"});
    for (const ConfigValue& entry : entries()) {
      for (const DType dtype : kNumberTypes) check(rows, entry, dtype);
    }
    const Rows unused = numbers_.unused();
    rows.insert(rows.end(), unused.begin(), unused.end());
    return rows;
  }

 private:
  const std::vector<ConfigValue>& entries() const { return numbers_.document().find("entries")->elements(); }

  static NormLoss loss_of_entry(const ConfigValue& entry) {
    NormLoss loss = norm_loss_of(*entry.find("loss"));
    const ConfigValue& call = *entry.find("call");
    const std::string method = entry.find("method")->as_string();
    if (method == "abs") loss.relation = Relation::absolute;
    // The reference's __call__ drops take_root, and LpLoss drops the quadrature of its relative form.
    if (const ConfigValue* root = argument(call, "take_root"); root != nullptr && method != "call") loss.root = root->as_bool();
    const ConfigValue* quadrature = argument(call, "quadrature");
    if (quadrature != nullptr && (loss.kind == NormKind::h1 || method == "abs")) loss.spacings = number_list(*quadrature, loss.axes);
    return loss;
  }

  /// Why this mesh cannot share out the fields: norms are of whole fields, and one-sided differences take four points.
  std::optional<std::string> objection_to_entry(const NormLoss& loss, const Tensor& field) const {
    if (options_.mesh.world().size() == 1) return std::nullopt;
    if (loss.axes != field.rank() - 2) return concat("norms over ", loss.axes, " axes of fields with ", field.rank() - 2);
    const bool one_sided = loss.kind == NormKind::h1 && std::ranges::find(loss.periodic, false) != loss.periodic.end();
    return objection_to_fields(field, one_sided ? 4 : 1, options_.mesh);
  }

  void check(Rows& rows, const ConfigValue& entry, DType dtype) {
    const std::string id = entry.find("id")->as_string(), field = entry.find("field")->as_string();
    const auto whole = [&](const char* name) { return in_precision(numbers_.given(field + name), dtype, options_.device); };
    LossDescription description;
    description.norm = loss_of_entry(entry);
    const auto objection = objection_to_entry(*description.norm, whole("/prediction"));
    const Mesh mesh = objection ? Mesh() : options_.mesh;  // every rank computes what they cannot share out
    const MeshCase on_mesh(mesh, whole("/prediction"));
    const Tensor prediction = leaf(on_mesh.part(whole("/prediction"))), target = leaf(on_mesh.part(whole("/target")));
    const Loss loss(description, static_cast<int>(prediction.size(1)), LossScope::global, mesh);
    const Tensor share = loss.share(prediction, target, loss.totals({&target, 1}));
    backward(share);
    const double value = summed(to_number(share), mesh);
    const auto gradient = [&](const Tensor& of) {
      const Tensor own = gradient_of(of);
      return on_mesh.whole_input_gradient(own.defined() ? own : zeros_like(of));
    };
    const Tensor of_prediction = gradient(prediction), of_target = gradient(target);
    if (!on_mesh.is_first()) return;
    rows.push_back({concat(name_of(dtype), " loss/", id), relative_error({value}, {entry.find("f64")->as_number()}),
                    dtype == DType::f64 ? kF64Bound : f32_bound(loss_distance_), objection ? "on one rank: " + *objection : ""});
    numbers_.compare(rows, dtype, id + "/grad/prediction", all_numbers(of_prediction), gradient_distance_);
    // Recorded in f64 alone.
    const std::string name = id + "/grad/target";
    if (dtype == DType::f64 && numbers_.expected(name).defined()) numbers_.compare(rows, dtype, name, all_numbers(of_target), 0.0);
  }

  NeuralopCase numbers_;
  const Options& options_;
  double loss_distance_ = 0.0, gradient_distance_ = 0.0;
};

}  // namespace

NormLoss norm_loss_of(const ConfigValue& document) {
  NormLoss loss{.kind = document.find("class")->as_string() == "H1Loss" ? NormKind::h1 : NormKind::lp, .axes = 1};
  if (const ConfigValue* d = argument(document, "d")) loss.axes = static_cast<int>(d->as_integer());
  if (const ConfigValue* p = argument(document, "p")) loss.p = p->as_number();
  if (const ConfigValue* eps = argument(document, "eps")) loss.eps = eps->as_number();
  if (const ConfigValue* measure = argument(document, "measure")) loss.measure = number_list(*measure, loss.axes);
  if (const ConfigValue* reduction = argument(document, "reduction")) loss.reduction = read_config<Reduction>(*reduction);
  for (const char* key : {"periodic_in_x", "periodic_in_y", "periodic_in_z"}) {
    const ConfigValue* periodic = argument(document, key);
    if (static_cast<int>(loss.periodic.size()) < loss.axes) loss.periodic.push_back(periodic == nullptr || periodic->as_bool());
  }
  return loss;
}

bool matches_neuralop_losses(const Folder& folder) { return is_neuralop(folder, "losses"); }

Rows check_neuralop_losses(Folder& folder, const Options& options) { return LossesCheck(folder, options).run(); }

}  // namespace trident::golden
