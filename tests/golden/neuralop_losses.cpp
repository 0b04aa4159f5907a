/// LpLoss and H1Loss of neuraloperator: values, and gradients with respect to both fields.
#include <algorithm>
#include <cmath>

#include "models/norm_loss.h"
#include "runtime/autograd/tape.h"
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
  explicit LossesCheck(Folder& folder) : numbers_(folder) {
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

  void check(Rows& rows, const ConfigValue& entry, DType dtype) {
    const std::string id = entry.find("id")->as_string(), field = entry.find("field")->as_string();
    const auto given = [&](const char* name) { return leaf(in_precision(numbers_.given(field + name), dtype, numbers_.folder().device())); };
    const Tensor prediction = given("/prediction"), target = given("/target");
    const Tensor value = norm_loss(loss_of_entry(entry), prediction, target);
    backward(value);
    rows.push_back({concat(name_of(dtype), " loss/", id), relative_error({to_number(value)}, {entry.find("f64")->as_number()}),
                    dtype == DType::f64 ? kF64Bound : f32_bound(loss_distance_)});
    numbers_.compare(rows, dtype, id + "/grad/prediction", all_numbers(gradient_of(prediction)), gradient_distance_);
    // Recorded in f64 alone.
    const std::string of_target = id + "/grad/target";
    if (dtype == DType::f64 && numbers_.expected(of_target).defined()) {
      const Tensor gradient = gradient_of(target);
      numbers_.compare(rows, dtype, of_target, all_numbers(gradient.defined() ? gradient : zeros_like(target)), 0.0);
    }
  }

  NeuralopCase numbers_;
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

Rows check_neuralop_losses(Folder& folder, const Options&) { return LossesCheck(folder).run(); }

}  // namespace trident::golden
