#include "checkpoint/checkpoint_conversion.h"

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/model_directory.h"
#include "checkpoint/sharded_checkpoint.h"
#include "runtime/error.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

namespace fs = std::filesystem;

/// What a model consists of, without memory.
struct Outline {
  Model model;
  std::vector<Described> parameters, buffers;

  explicit Outline(const ConfigValue& config) : model(describe_model(config, Mesh())) {
    std::set<std::string> names;
    model->visit(
        {.parameter = [](const std::string&, Parameter&) {}, .buffer = [&](const std::string& name, Buffer&) { names.insert(name); }});
    for (const Described& tensor : describe([&](const ParameterVisitor& visitor) { model->visit(visitor); })) {
      (names.contains(tensor.name) ? buffers : parameters).push_back(tensor);
    }
  }
};

DType converted(DType stored, std::optional<DType> wanted) {
  if (!wanted || !(is_floating(stored) || is_complex(stored))) return stored;
  if (is_complex(stored)) return *wanted == DType::f64 ? DType::c128 : DType::c64;
  return *wanted;
}

Tensor converted(const Tensor& values, DType dtype) {
  if (values.dtype() == dtype) return values;
  const Tensor result = empty(values.shape(), dtype);
  copy_into(result, values);
  return result;
}

/// Tensors of a model directory of any kind. What has been read of a mapped file counts as this process's memory, so files are closed now
/// and then.
class Source {
 public:
  explicit Source(fs::path folder) : folder_(std::move(folder)) { open(); }

  /// Null if there is no such tensor.
  const StoredTensor* find(const std::string& name) const {
    const auto found = tensors_.find(name);
    return found == tensors_.end() ? nullptr : &found->second;
  }
  Tensor load(const std::string& name) {
    if (bytes_ > kMappedBytes) open();
    const Tensor values = tensors_.at(name).load();
    bytes_ += values.num_bytes();
    return values;
  }

 private:
  static constexpr std::int64_t kMappedBytes = std::int64_t{16} << 20;

  void open() {
    tensors_.clear();
    bytes_ = 0;
    for (StoredTensor& tensor : model_tensors(folder_)) tensors_.emplace(tensor.name, std::move(tensor));
  }

  fs::path folder_;
  std::map<std::string, StoredTensor> tensors_;
  std::int64_t bytes_ = 0;
};

std::string name_in(const char* group, const std::string& name) { return concat(group, '/', name); }

/// One line for each tensor that is missing, surplus or of another shape.
void require_all(const CheckpointReader& saved, const Outline& outline, const fs::path& checkpoint) {
  std::string lines;
  std::set<std::string> known;
  const auto compare = [&](const char* group, const std::vector<Described>& tensors) {
    for (const auto& [name, shape, numbers] : tensors) {
      const ManifestTensor* found = saved.find(*known.insert(name_in(group, name)).first);
      if (found == nullptr) {
        lines += concat("\n  missing: ", name);
      } else if (found->shape != shape) {
        lines += concat("\n  ", name, ": saved ", to_string(found->shape), ", wanted ", to_string(shape));
      }
    }
  };
  compare(kWeightsGroup, outline.parameters);
  compare(kBuffersGroup, outline.buffers);
  for (const ManifestTensor& tensor : saved.manifest().tensors) {
    const bool of_model = tensor.name.starts_with(concat(kWeightsGroup, '/')) || tensor.name.starts_with(concat(kBuffersGroup, '/'));
    if (of_model && !known.contains(tensor.name)) lines += "\n  surplus: " + tensor.name;
  }
  if (!lines.empty()) throw CheckpointError(concat(checkpoint.string(), ": its tensors are not those of its model:", lines));
}

}  // namespace

bool is_training_checkpoint(const fs::path& path) { return fs::is_directory(path) && is_committed(path); }

void model_from_checkpoint(const fs::path& checkpoint, const fs::path& folder, Description description, std::optional<DType> dtype) {
  CheckpointReader saved(checkpoint);
  const ConfigValue* config = saved.manifest().state.find(kModelKey);
  if (config == nullptr)
    throw CheckpointError(concat(checkpoint.string(), ": does not say which model it is of; convert the run's model/"));
  const Outline outline(*config);
  require_all(saved, outline, checkpoint);
  std::vector<LateTensor> tensors;
  const auto add = [&](const char* group, const std::vector<Described>& names) {
    for (const auto& [name, shape, numbers] : names) {
      const ManifestTensor& stored = *saved.find(name_in(group, name));
      const DType type = converted(stored.dtype, dtype);
      tensors.push_back({name, type, shape, [&saved, &stored, type] {
                           const Tensor values = empty(stored.shape, type);
                           saved.read(stored, whole_box(stored.shape), values);
                           return values;
                         }});
    }
  };
  add(kWeightsGroup, outline.parameters);
  add(kBuffersGroup, outline.buffers);
  const ConfigValue* problems = saved.manifest().state.find(kDescriptionKey);
  const bool keeps = description == Description::keep && problems != nullptr && !problems->entries().empty();
  write_model(folder, outline.model, tensors, keeps ? std::optional(*problems) : std::nullopt);
}

fs::path checkpoint_from_model(const fs::path& model, const fs::path& folder, ConfigValue values, std::optional<DType> dtype) {
  const ConfigValue config = read_model_config(model);
  Source source(model);
  const Outline outline(config);
  std::vector<LateTensor> tensors;
  const auto add = [&](const char* group, const std::vector<Described>& names, const char* ending, const auto& values_of) {
    for (const auto& [name, shape, numbers] : names) {
      const StoredTensor* stored = source.find(name);
      if (stored == nullptr || stored->shape != shape || !stored->dtype) {
        throw CheckpointError(
            concat(model.string(), ": \"", name, "\" is missing or not ", to_string(shape), "; give a whole model directory"));
      }
      const DType type = converted(*stored->dtype, dtype);
      tensors.push_back({name_in(group, name) + ending, type, shape,
                         [name = name, shape = shape, type, values_of] { return values_of(name, shape, type); }});
    }
  };
  const auto as_stored = [&source](const std::string& name, const Shape&, DType type) { return converted(source.load(name), type); };
  const auto zero = [](const std::string&, const Shape& shape, DType type) { return zeros(shape, type); };
  add(kWeightsGroup, outline.parameters, "", as_stored);
  add(kBuffersGroup, outline.buffers, "", as_stored);
  add(kMomentsGroup, outline.parameters, ".exp_avg", zero);
  add(kMomentsGroup, outline.parameters, ".exp_avg_sq", zero);
  values.set(kModelKey, config);
  if (const auto problems = read_trident_json(model)) values.set(kDescriptionKey, *problems);
  return save_checkpoint(folder, 0, tensors, values);
}

}  // namespace trident
