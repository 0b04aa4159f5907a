#include "rpc/model_repository.h"

#include <algorithm>
#include <utility>

#include "checkpoint/model_directory.h"
#include "models/model_description.h"
#include "models/prediction.h"
#include "runtime/error.h"

namespace trident {
namespace {

namespace fs = std::filesystem;

/// What predictions share; only read once it is made.
struct ReadyModel {
  LoadedModel loaded;
  ModelDescription description;
  Prepared prepared;

  std::optional<Problem> problem(const PredictionRequest& request) const {
    if (request.problem.empty()) return std::nullopt;
    return problem_named(description, request.problem);
  }
};

}  // namespace

ServedModel serve_model(const std::string& name, LoadedModel loaded, DType precision) {
  const auto ready = std::make_shared<ReadyModel>();
  ready->loaded = std::move(loaded);
  ready->description = read_model_description(ready->loaded.description);
  const Model& model = ready->loaded.model;
  ready->prepared = model->prepare();

  ServedModel served;
  served.description = {.name = name,
                        .num_channels = model->num_channels(),
                        .num_out_channels = model->num_out_channels(),
                        .num_dims = model->num_dims(),
                        .complex = model->is_complex(),
                        .uses_time = model->uses_time()};
  served.answer_shape = [ready](const PredictionRequest& request) {
    ready->problem(request);  // throws if it is unknown, before the request waits
    return answer_shape(ready->loaded.model, request);
  };
  served.predict = [ready, precision](const PredictionRequest& request) {
    const std::optional<Problem> problem = ready->problem(request);
    return predict(ready->loaded.model, ready->prepared, request, problem ? &*problem : nullptr, precision);
  };
  return served;
}

std::vector<ServedModel> load_repository(const fs::path& repository, DType precision) {
  if (!fs::is_directory(repository)) {
    throw ConfigError(concat("model-repository ", repository.string(), ": is no folder; give one that holds model directories"));
  }
  std::vector<fs::path> folders;
  for (const auto& entry : fs::directory_iterator(repository)) {
    if (fs::exists(entry.path() / "config.json")) folders.push_back(entry.path());
  }
  if (folders.empty()) {
    throw ConfigError(concat("model-repository ", repository.string(), ": none of its folders has a config.json; ",
                             fs::exists(repository / "config.json") ? "it is a model directory itself, so give the folder that it lies in"
                                                                    : "put model directories into it"));
  }
  std::ranges::sort(folders);
  std::vector<ServedModel> models;
  for (const fs::path& folder : folders) {
    const std::string name = folder.filename().string();
    try {
      models.push_back(serve_model(name, load_model(folder, Mesh(), {.dtype = precision}), precision));
    } catch (const Error& error) {
      throw CheckpointError(concat("model \"", name, "\" of ", repository.string(), ": ", error.what()));
    }
  }
  return models;
}

}  // namespace trident
