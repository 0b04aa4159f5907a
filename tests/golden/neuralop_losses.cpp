/// LpLoss and H1Loss of neuraloperator: values, and gradients with respect to both fields.
#include "models/norm_loss.h"
#include "runtime/autograd/tape.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "tests/golden/neuralop_comparison.h"

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

bool matches_losses(const Folder& folder) { return is_neuralop(folder, "losses"); }

Rows check_losses(Folder& folder, const Options& options) {
  Comparison comparison(folder);
  const ConfigValue document = folder.json("case.json");
  for (const ConfigValue& entry : document.find("entries")->elements()) {
    const std::string id = entry.find("id")->as_string(), field = entry.find("field")->as_string();
    NormLoss loss = norm_loss_of(*entry.find("loss"));
    const ConfigValue& call = *entry.find("call");
    const std::string method = entry.find("method")->as_string();
    if (method == "abs") loss.relation = Relation::absolute;
    // The reference's __call__ drops take_root, and LpLoss drops the quadrature of its relative form.
    if (const ConfigValue* root = argument(call, "take_root"); root != nullptr && method != "call") loss.root = root->as_bool();
    const ConfigValue* quadrature = argument(call, "quadrature");
    if (quadrature != nullptr && (loss.kind == NormKind::h1 || method == "abs")) loss.spacings = number_list(*quadrature, loss.axes);
    for (const DType dtype : {DType::f64, DType::f32}) {
      const auto given = [&](const char* name) { return leaf(on_device(comparison.given(field + name), dtype, options)); };
      const Tensor prediction = given("/prediction"), target = given("/target");
      const Tensor value = norm_loss(loss, prediction, target);
      backward(value);
      comparison.check_number("loss", "loss/" + id, dtype, to_number(value), entry.find("f64")->as_number(),
                              entry.find("f32")->as_number());
      comparison.check("gradient", id + "/grad/prediction", dtype, gradient_of(prediction));
      if (comparison.has(id + "/grad/target")) {
        const Tensor gradient = gradient_of(target);
        comparison.check("gradient of the target", id + "/grad/target", dtype, gradient);
      }
    }
  }
  Rows rows = comparison.rows();
  const Rows unknown = unknown_keys(document, {"kind", "seed", "entries", "f32_vs_f64"});
  rows.insert(rows.end(), unknown.begin(), unknown.end());
  return rows;
}

}  // namespace trident::golden
