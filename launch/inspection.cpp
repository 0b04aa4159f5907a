#include "launch/inspection.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <map>
#include <set>

#include "checkpoint/atomic_file.h"
#include "checkpoint/manifest.h"
#include "checkpoint/model_directory.h"
#include "checkpoint/neuralop_folder.h"
#include "checkpoint/pickled_values.h"
#include "checkpoint/safetensors_reader.h"
#include "checkpoint/sharded_checkpoint.h"
#include "checkpoint/weight_files.h"
#include "launch/data/hdf5_file.h"
#include "launch/trainer/metrics.h"
#include "launch/value_statistics.h"
#include "runtime/error.h"

namespace trident {
namespace {

namespace fs = std::filesystem;

ConfigValue to_config(const Shape& shape) {
  ConfigValue list = ConfigValue::list();
  for (const std::int64_t extent : shape) list.append(extent);
  return list;
}

ConfigValue row_of(const std::string& name, const Shape& shape, const std::string& type) {
  return ConfigValue::map({{"name", name}, {"shape", to_config(shape)}, {"type", type}});
}

template <class Statistics>
void append(ConfigValue& row, const Statistics& statistics) {
  const ConfigValue values = statistics.to_config();
  for (const auto& [key, value] : values.entries()) row.set(key, value);
}

template <class Statistics>
void append_statistics_of(ConfigValue& row, const Tensor& values) {
  Statistics statistics;
  statistics.add(values);
  append(row, statistics);
}

std::int64_t bytes_of(const fs::path& path) {
  if (fs::is_regular_file(path)) return static_cast<std::int64_t>(fs::file_size(path));
  std::int64_t bytes = 0;
  for (const auto& entry : fs::recursive_directory_iterator(path)) {
    if (entry.is_regular_file()) bytes += static_cast<std::int64_t>(entry.file_size());
  }
  return bytes;
}

ConfigValue report(const char* kind, const fs::path& path) { return ConfigValue::map({{"kind", kind}, {"path", path.string()}}); }

ConfigValue rows_of(const std::vector<StoredTensor>& tensors, Detail detail) {
  ConfigValue rows = ConfigValue::list();
  for (const StoredTensor& tensor : tensors) {
    ConfigValue row = row_of(tensor.name, tensor.shape, tensor.dtype ? std::string(name_of(*tensor.dtype)) : tensor.type);
    if (detail == Detail::with_statistics && tensor.dtype) {
      if (is_complex(*tensor.dtype)) {
        append_statistics_of<ComplexStatistics>(row, tensor.load());
      } else {
        append_statistics_of<ValueStatistics>(row, tensor.load());
      }
    }
    rows.append(std::move(row));
  }
  return rows;
}

ConfigValue inspect_tensors(const fs::path& path, Detail detail) {
  const WeightFiles files(path);
  ConfigValue result = report("tensors", path);
  std::int64_t elements = 0;
  for (const StoredTensor& tensor : files.tensors()) elements += numel(tensor.shape);
  result.set("bytes", bytes_of(path));
  result.set("elements", elements);
  result.set("tensors", rows_of(files.tensors(), detail));
  return result;
}

/// Settings and schedules that PyTorch saved without tensors.
ConfigValue inspect_values(const fs::path& path) {
  ConfigValue result = report("values", path);
  result.set("bytes", bytes_of(path));
  result.set("values", read_pickled_values(path));
  return result;
}

/// A model from its configuration alone, and from its weights if they are there. Nothing of the model's size is allocated.
ConfigValue inspect_model(const fs::path& folder, const ConfigValue& config, Detail detail) {
  const Model model = describe_model(config, Mesh());
  ConfigValue result = report("model", folder), rows = ConfigValue::list();
  const auto visit = [&](const ParameterVisitor& visitor) { model->visit(visitor); };
  std::set<std::string> buffers;  // running statistics are no parameters
  ParameterVisitor visitor;
  visitor.buffer = [&](const std::string& name, const Buffer&) { buffers.insert(name); };
  visit(visitor);
  std::int64_t parameters = 0, inner = 0;
  for (const auto& [name, shape, numbers] : describe(visit)) {
    rows.append(row_of(name, shape, "-"));
    if (buffers.contains(name)) continue;
    const std::int64_t count = reals_in(shape, numbers);
    parameters += count;
    if (!name.starts_with("embeddings.") && !name.starts_with("patch_recovery.")) inner += count;
  }
  result.set("type", model->type());
  result.set("parameters", parameters);
  result.set("parameters_without_embedding_and_recovery", inner);
  if (const double flops = model->forward_flops(1, {}); flops > 0.0) result.set("forward_flops_per_sample", flops);
  result.set("config", model->config());
  if (is_model_directory(folder) || is_neuralop_model(folder)) {
    const WeightFiles files(is_neuralop_model(folder) ? neuralop_weights(folder) : folder);
    std::int64_t bytes = 0;
    for (const fs::path& file : files.files()) bytes += bytes_of(file);
    result.set("weight_bytes", bytes);
    rows = rows_of(model_tensors(folder), detail);
  }
  if (const auto description = read_trident_json(folder)) result.set("trident", *description);
  result.set("tensors", std::move(rows));
  return result;
}

ConfigValue inspect_checkpoint(const fs::path& folder, Detail detail) {
  const Manifest manifest = parse_manifest(read_text_file(folder / "manifest.json"), (folder / "manifest.json").string());
  ConfigValue result = report("checkpoint", folder), rows = ConfigValue::list();
  std::map<std::string, SafetensorsReader> files;
  for (const ManifestTensor& tensor : manifest.tensors) {
    ConfigValue row = row_of(tensor.name, tensor.shape, std::string(name_of(tensor.dtype)));
    row.set("parts", static_cast<std::int64_t>(tensor.parts.size()));
    if (detail == Detail::with_statistics && !is_complex(tensor.dtype)) {
      ValueStatistics statistics;
      for (const ManifestPart& part : tensor.parts) {
        statistics.add(files.try_emplace(part.file, folder / part.file).first->second.tensor(tensor.name));
      }
      append(row, statistics);
    }
    rows.append(std::move(row));
  }
  result.set("committed", is_committed(folder));
  result.set("bytes", bytes_of(folder));
  result.set("state", manifest.state);
  result.set("tensors", std::move(rows));
  return result;
}

template <class Statistics, class Number>
Statistics statistics_of(const Hdf5Dataset& variable) {
  constexpr std::int64_t kPart = 1 << 22;  // numbers
  Statistics statistics;
  const Shape& shape = variable.shape();
  if (numel(shape) == 0) return statistics;
  if (shape.rank() == 0) {
    Number value{};
    variable.read<Number>({}, {}, &value);
    statistics.add(std::span<const Number>(&value, 1));
    return statistics;
  }
  // Slabs of the first two axes (trajectory, frame), as many frames at a time as fit.
  const int split = shape.rank() > 2 ? 2 : 1;
  std::int64_t inner = 1;
  for (int dim = split; dim < shape.rank(); ++dim) inner *= shape[dim];
  const std::int64_t step = std::max<std::int64_t>(1, kPart / inner);
  Shape start = contiguous_strides(shape), count = shape;
  std::ranges::fill(start, 0);
  std::vector<Number> values;
  for (std::int64_t outer = 0; outer < (split == 2 ? shape[0] : 1); ++outer) {
    if (split == 2) start[0] = outer, count[0] = 1;
    for (std::int64_t begin = 0; begin < shape[split - 1]; begin += step) {
      start[split - 1] = begin;
      count[split - 1] = std::min(step, shape[split - 1] - begin);
      values.resize(static_cast<std::size_t>(numel(count)));
      variable.read<Number>(start, count, values.data());
      statistics.add(values);
    }
  }
  return statistics;
}

ConfigValue inspect_data(const fs::path& path, Detail detail) {
  const Hdf5File file = Hdf5File::open(path.string());
  ConfigValue result = report("data set", path), rows = ConfigValue::list();
  for (const std::string& name : file.variables()) {
    const Hdf5Dataset variable = file.dataset(name);
    ConfigValue row = row_of(name, variable.shape(), std::string(name_of(variable.dtype())));
    row.set("chunks", to_config(variable.chunks()));
    if (detail == Detail::with_statistics && is_complex(variable.dtype())) append(row, statistics_of<ComplexStatistics, c128>(variable));
    if (detail == Detail::with_statistics && !is_complex(variable.dtype())) append(row, statistics_of<ValueStatistics, double>(variable));
    rows.append(std::move(row));
  }
  result.set("bytes", bytes_of(path));
  result.set("variables", std::move(rows));
  return result;
}

bool is_hdf5(const fs::path& path) {
  if (!fs::is_regular_file(path)) return false;  // to open a pipe waits for its writer
  std::array<char, 8> signature{};
  std::ifstream(path, std::ios::binary).read(signature.data(), signature.size());
  return std::string_view(signature.data(), signature.size()) == "\x89HDF\r\n\x1a\n";
}

/// Files of a folder that hold data, by name; hidden ones are being written, or their writer was killed.
std::vector<fs::path> data_files(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const bool hidden = entry.path().filename().string().starts_with('.');
    if (!hidden && entry.is_regular_file() && is_hdf5(entry.path())) files.push_back(entry.path());
  }
  std::ranges::sort(files);
  return files;
}

ConfigValue inspect_run(const fs::path& folder) {
  ConfigValue result = report("run", folder), checkpoints = ConfigValue::list(), models = ConfigValue::list();
  for (const char* name : {"model", "best"}) {
    if (is_model_directory(folder / name)) models.append(name);
  }
  for (const CheckpointInfo& info : list_checkpoints(folder / "checkpoints")) {
    checkpoints.append(ConfigValue::map({{"step", info.step}, {"committed", info.committed}, {"bytes", bytes_of(info.path)}}));
  }
  std::int64_t steps = 0;
  std::optional<ConfigValue> last_step, last_evaluation;
  for (const ConfigValue& row : read_metrics(folder / "metrics.jsonl")) {
    const bool is_step = row.find("grad_norm") != nullptr;
    steps += is_step;
    (is_step ? last_step : last_evaluation) = row;
  }
  result.set("bytes", bytes_of(folder));
  result.set("models", std::move(models));
  result.set("steps", steps);
  if (last_step) result.set("last_step", *last_step);
  if (last_evaluation) result.set("last_evaluation", *last_evaluation);
  result.set("checkpoints", std::move(checkpoints));
  return result;
}

ConfigValue inspect_folder(const fs::path& folder, Detail detail) {
  if (fs::exists(folder / "config.json") || is_neuralop_model(folder)) return inspect_model(folder, read_model_config(folder), detail);
  if (fs::exists(folder / "manifest.json")) return inspect_checkpoint(folder, detail);
  if (fs::exists(folder / "run.yaml") || fs::exists(folder / "metrics.jsonl")) return inspect_run(folder);
  const auto files = data_files(folder);
  if (files.empty()) {
    throw CheckpointError(concat(folder.string(),
                                 ": is no model directory (config.json), checkpoint (manifest.json), run (run.yaml) or "
                                 "folder of HDF5 files; give the path of one"));
  }
  ConfigValue result = report("data sets", folder), sets = ConfigValue::list();
  for (const fs::path& file : files) sets.append(inspect_data(file, detail));
  result.set("files", std::move(sets));
  return result;
}

}  // namespace

ConfigValue inspection_of(const fs::path& path, Detail detail) {
  if (!fs::exists(path)) throw CheckpointError(concat(path.string(), ": no such file or folder; check the path"));
  if (fs::is_directory(path)) return inspect_folder(path, detail);
  if (path.extension() == ".json") return inspect_model(path, parse_json(read_text_file(path), path.string()), detail);
  if (is_hdf5(path)) return inspect_data(path, detail);
  if (path.extension() == ".pkl") return inspect_values(path);
  ConfigValue result = inspect_tensors(path, detail);
  if (path.extension() != ".safetensors") {
    const ConfigValue values = read_pickled_values(path);
    if (values.kind() == ConfigValue::Kind::map && !values.entries().empty()) result.set("values", values);
  }
  return result;
}

}  // namespace trident
