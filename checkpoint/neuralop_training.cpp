#include "checkpoint/neuralop_training.h"

#include <algorithm>
#include <map>
#include <string>

#include "checkpoint/box.h"
#include "checkpoint/neuralop_folder.h"
#include "checkpoint/pickled_values.h"
#include "checkpoint/torch_reader.h"
#include "runtime/error.h"
#include "runtime/ops/complex.h"
#include "runtime/tensor/copy.h"

namespace trident {
namespace {

namespace fs = std::filesystem;

/// Running statistics are no parameters.
bool is_buffer(const std::string& name) {
  return name.ends_with(".running_mean") || name.ends_with(".running_var") || name.ends_with(".num_batches_tracked");
}

class OptimizerFile {
 public:
  explicit OptimizerFile(const fs::path& folder) : path_(folder / "optimizer.pt"), reader_(path_) {
    std::int64_t number = 0;
    const WeightFiles weights(neuralop_weights(folder));
    for (const StoredTensor& tensor : weights.tensors()) {
      if (!is_buffer(tensor.name)) numbers_[tensor.name] = number++;
    }
  }

  [[noreturn]] void reject(const std::string& what) const {
    throw CheckpointError(
        concat(path_.string(), ": ", what, "; start from the model's weights alone, or give the file that belongs to them"));
  }

  void load(const NamedPiece& moment) {
    const std::size_t dot = moment.name.rfind('.');
    const std::string parameter = moment.name.substr(0, dot), kind = moment.name.substr(dot + 1);
    const auto number = numbers_.find(parameter);
    if (number == numbers_.end()) reject(concat("has no state of \"", parameter, "\""));
    const std::string name = concat("state.", number->second, ".", kind);
    const TorchEntry* entry = reader_.find(name);
    if (entry == nullptr) reject(concat("has no ", kind, " of parameter ", number->second, ", which is \"", parameter, "\""));
    if (entry->shape != moment.piece.full_shape) {
      reject(concat(kind, " of parameter ", number->second, " has the shape ", to_string(entry->shape), ", \"", parameter, "\" ",
                    to_string(moment.piece.full_shape)));
    }
    const bool is_moment_complex = is_complex(moment.value.dtype());
    // The reference keeps the second moment of complex numbers, which is real, as complex numbers.
    const bool is_real_part = entry->dtype && is_complex(*entry->dtype) && !is_moment_complex && kind == "exp_avg_sq";
    if (!entry->dtype || (is_complex(*entry->dtype) != is_moment_complex && !is_real_part)) {
      reject(concat(kind, " of \"", parameter, "\" has a ", entry->type, " where ", is_moment_complex ? "complex" : "real",
                    " numbers are expected"));
    }
    const Tensor stored = reader_.tensor(name);
    copy_overlap(moment.value, moment.piece.owned, is_real_part ? packed(real(stored)) : stored, whole_box(moment.piece.full_shape));
  }

  NeuralopTraining training() const {
    NeuralopTraining result;
    const ConfigValue* groups = find_path(reader_.values(), "param_groups");
    const ConfigValue* state = find_path(reader_.values(), "state");
    if (groups == nullptr || groups->kind() != ConfigValue::Kind::list || groups->elements().size() != 1 || state == nullptr) {
      reject("is no state of one group of parameters");
    }
    const ConfigValue& group = groups->elements()[0];
    result.learning_rate = number_of(group, "lr");
    result.eps = number_of(group, "eps");
    result.weight_decay = number_of(group, "weight_decay");
    if (const ConfigValue* correct_bias = group.find("correct_bias")) result.correct_bias = correct_bias->as_bool();
    const ConfigValue* betas = group.find("betas");
    if (betas == nullptr || betas->kind() != ConfigValue::Kind::list || betas->elements().size() != 2) reject("has no two betas");
    result.beta1 = betas->elements()[0].as_number();
    result.beta2 = betas->elements()[1].as_number();
    for (const auto& [name, own] : state->entries()) {
      const auto step = static_cast<std::int64_t>(number_of(own, "step"));
      if (result.step != 0 && step != result.step) reject(concat("has parameters after ", result.step, " and after ", step, " updates"));
      result.step = step;
    }
    return result;
  }

 private:
  double number_of(const ConfigValue& values, const char* key) const {
    const ConfigValue* value = values.kind() == ConfigValue::Kind::map ? values.find(key) : nullptr;
    if (value == nullptr || (value->kind() != ConfigValue::Kind::number && value->kind() != ConfigValue::Kind::integer)) {
      reject(concat("has no number \"", key, "\""));
    }
    return value->as_number();
  }

  fs::path path_;
  TorchReader reader_;
  std::map<std::string, std::int64_t> numbers_;
};

}  // namespace

std::optional<NeuralopTraining> load_neuralop_training(const fs::path& folder, const std::vector<NamedPiece>& moments) {
  if (!fs::exists(folder / "optimizer.pt")) return std::nullopt;
  OptimizerFile file(folder);
  for (const NamedPiece& moment : moments) file.load(moment);
  NeuralopTraining training = file.training();
  if (fs::exists(folder / "scheduler.pt")) training.schedule = read_pickled_values(folder / "scheduler.pt");
  if (fs::exists(folder / "manifest.pt")) {
    const ConfigValue manifest = read_pickled_values(folder / "manifest.pt");
    if (const ConfigValue* epoch = find_path(manifest, "epoch"); epoch != nullptr && epoch->kind() == ConfigValue::Kind::integer) {
      training.epoch = epoch->as_integer();
    }
  }
  return training;
}

}  // namespace trident
