#include "checkpoint/checkpoint_conversion.h"

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/model_directory.h"
#include "checkpoint/sharded_checkpoint.h"
#include "checkpoint/tensor_match.h"
#include "checkpoint/torch_writer.h"
#include "runtime/error.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

namespace fs = std::filesystem;

/// What a model consists of, without memory.
struct Outline {
  struct Entry {
    std::string name;
    Shape shape;
    DType dtype;
  };
  Model model;
  std::vector<Entry> parameters, buffers;

  /// `real`: the type of real numbers; complex ones have parts of it.
  Outline(const ConfigValue& config, DType real) : model(describe_model(config, Mesh())) {
    std::map<std::string, DType> types;  // of buffers
    model->visit(
        {.buffer = [&](const std::string& name, Buffer& buffer) { types.emplace(name, is_floating(buffer.dtype) ? real : buffer.dtype); }});
    for (const auto& [name, shape, numbers] : describe([&](const ParameterVisitor& visitor) { model->visit(visitor); })) {
      if (const auto buffer = types.find(name); buffer != types.end()) {
        buffers.push_back({name, shape, buffer->second});
      } else {
        parameters.push_back({name, shape, numbers == Numbers::complex ? complex_of(real) : real});
      }
    }
  }
};

/// What real numbers become where nothing is asked for: as wide as any of them.
DType widest_real(const std::vector<StoredTensor>& tensors) {
  const bool wide =
      std::ranges::any_of(tensors, [](const StoredTensor& tensor) { return tensor.dtype && real_of(*tensor.dtype) == DType::f64; });
  return wide ? DType::f64 : DType::f32;
}

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

/// Named tensors in files. What has been read of a mapped file counts as this process's memory, so files are closed now and then.
class Source {
 public:
  using Open = std::function<std::vector<StoredTensor>()>;
  explicit Source(Open open) : open_(std::move(open)) { reopen(); }
  Source(const Source&) = delete;
  Source& operator=(const Source&) = delete;

  const std::vector<StoredTensor>& tensors() const { return tensors_; }
  /// To be read when its turn has come, while this lives.
  LateTensor late(const std::string& name, const Shape& shape, DType dtype) {
    return {name, dtype, shape, [this, name, dtype] { return converted(load(name), dtype); }};
  }

 private:
  static constexpr std::int64_t kMappedBytes = std::int64_t{16} << 20;

  Tensor load(const std::string& name) {
    if (bytes_ > kMappedBytes) reopen();
    const Tensor values = tensors_[index_.at(name)].load();
    bytes_ += values.num_bytes();
    return values;
  }

  void reopen() {
    tensors_.clear();  // first: the files that they keep open are closed by it
    tensors_ = open_();
    index_.clear();
    for (std::size_t at = 0; at < tensors_.size(); ++at) index_.emplace(tensors_[at].name, at);
    bytes_ = 0;
  }

  Open open_;
  std::vector<StoredTensor> tensors_;
  std::map<std::string, std::size_t> index_;
  std::int64_t bytes_ = 0;
};

/// A model directory of any kind, whose tensors are those that its configuration asks for.
struct ModelSource {
  ConfigValue config;
  Source source;
  Outline outline;

  ModelSource(const fs::path& folder, std::optional<DType> dtype)
      : config(read_model_config(folder)),
        source([folder] { return model_tensors(folder); }),
        outline(config, dtype.value_or(widest_real(source.tensors()))) {
    TensorMatch match(source.tensors());
    for (const auto* entries : {&outline.parameters, &outline.buffers}) {
      for (const auto& [name, shape, type] : *entries) match.find(name, shape, type);
    }
    match.finish(folder);
  }

  std::vector<LateTensor> all() {
    std::vector<LateTensor> tensors;
    for (const auto* entries : {&outline.parameters, &outline.buffers}) {
      for (const auto& [name, shape, type] : *entries) tensors.push_back(source.late(name, shape, type));
    }
    return tensors;
  }
};

std::string name_in(const char* group, const std::string& name) { return concat(group, '/', name); }

/// That no tensor is missing, surplus or of another shape.
void require_all(const CheckpointReader& saved, const Outline& outline, const fs::path& checkpoint) {
  std::vector<std::string> mistakes;
  std::set<std::string> known;
  const auto compare = [&](const char* group, const std::vector<Outline::Entry>& tensors) {
    for (const auto& [name, shape, type] : tensors) {
      const ManifestTensor* found = saved.find(*known.insert(name_in(group, name)).first);
      if (found == nullptr) {
        mistakes.push_back(concat("missing: ", name));
      } else if (found->shape != shape) {
        mistakes.push_back(concat(name, ": saved ", to_string(found->shape), ", wanted ", to_string(shape)));
      }
    }
  };
  compare(kWeightsGroup, outline.parameters);
  compare(kBuffersGroup, outline.buffers);
  for (const ManifestTensor& tensor : saved.manifest().tensors) {
    const bool of_model = tensor.name.starts_with(concat(kWeightsGroup, '/')) || tensor.name.starts_with(concat(kBuffersGroup, '/'));
    if (of_model && !known.contains(tensor.name)) mistakes.push_back("surplus: " + tensor.name);
  }
  if (!mistakes.empty()) throw CheckpointError(concat(checkpoint.string(), ": its tensors are not those of its model:", listed(mistakes)));
}

}  // namespace

bool is_training_checkpoint(const fs::path& path) { return fs::is_directory(path) && is_committed(path); }

void model_from_checkpoint(const fs::path& checkpoint, const fs::path& folder, Description description, std::optional<DType> dtype) {
  CheckpointReader saved(checkpoint);
  const ConfigValue* config = saved.manifest().state.find(kModelKey);
  if (config == nullptr)
    throw CheckpointError(concat(checkpoint.string(), ": does not say which model it is of; convert the run's model/"));
  const Outline outline(*config, dtype.value_or(DType::f32));
  require_all(saved, outline, checkpoint);
  std::vector<LateTensor> tensors;
  const auto add = [&](const char* group, const std::vector<Outline::Entry>& entries) {
    for (const auto& [name, shape, unused] : entries) {
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

void model_from_model(const fs::path& source, const fs::path& folder, Description description, std::optional<DType> dtype) {
  ModelSource model(source, dtype);
  write_model(folder, model.outline.model, model.all(), description == Description::keep ? read_trident_json(source) : std::nullopt);
}

void neuralop_from_model(const fs::path& source, const fs::path& folder, std::optional<DType> dtype) {
  ModelSource model(source, dtype);
  write_for_neuralop(folder, model.outline.model, model.all());
}

void file_from_file(const fs::path& source, const fs::path& file) {
  Source stored([source] { return WeightFiles(source).tensors(); });
  std::vector<LateTensor> tensors;
  for (const StoredTensor& tensor : stored.tensors()) {
    if (!tensor.dtype) tensor.load();  // throws: says which numbers it has
    tensors.push_back(stored.late(tensor.name, tensor.shape, *tensor.dtype));
  }
  if (file.extension() == ".safetensors") {
    write_safetensors(file, tensors);
  } else {
    write_state_dict(file, tensors);
  }
}

fs::path checkpoint_from_model(const fs::path& model, const fs::path& folder, ConfigValue values, std::optional<DType> dtype) {
  ModelSource from(model, dtype);
  std::vector<LateTensor> tensors;
  const auto add = [&](const char* group, const std::vector<Outline::Entry>& entries) {
    for (const auto& [name, shape, type] : entries) {
      tensors.push_back(from.source.late(name, shape, type));
      tensors.back().name = name_in(group, name);
    }
  };
  add(kWeightsGroup, from.outline.parameters);
  add(kBuffersGroup, from.outline.buffers);
  for (const char* moment : {".exp_avg", ".exp_avg_sq"}) {
    for (const auto& [name, shape, type] : from.outline.parameters) {
      tensors.push_back({name_in(kMomentsGroup, name) + moment, type, shape, [shape = shape, type = type] { return zeros(shape, type); }});
    }
  }
  values.set(kModelKey, from.config);
  if (const auto problems = read_trident_json(model)) values.set(kDescriptionKey, *problems);
  return save_checkpoint(folder, 0, tensors, values);
}

}  // namespace trident
