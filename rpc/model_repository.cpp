#include "rpc/model_repository.h"

#include <algorithm>
#include <utility>

#include "checkpoint/model_directory.h"
#include "models/mesh_prediction.h"
#include "models/model_description.h"
#include "runtime/error.h"

namespace trident {
namespace {

namespace fs = std::filesystem;

/// What answers need; only read once it is made.
struct ReadyModel {
  ReadyModel(LoadedModel from, const Mesh& mesh, const Computing& computing)
      : loaded(std::move(from)),
        description(read_model_description(loaded.description)),
        predictor(
            loaded.model, mesh, [this](const std::string& name) { return problem_named(description, name); }, computing) {}

  LoadedModel loaded;
  ModelDescription description;
  MeshPredictor predictor;
};

}  // namespace

ServedModel serve_model(const std::string& name, LoadedModel loaded, const Computing& computing, const Mesh& mesh) {
  const auto ready = std::make_shared<const ReadyModel>(std::move(loaded), mesh, computing);
  const Model& model = ready->loaded.model;

  ServedModel served;
  served.device = computing.device;
  served.description = {.name = name,
                        .num_channels = model->num_channels(),
                        .num_out_channels = model->num_out_channels(),
                        .num_dims = model->num_dims(),
                        .complex = model->is_complex(),
                        .uses_time = model->uses_time(),
                        .problems = ready->loaded.description ? to_json(*ready->loaded.description, 0) : ""};
  served.answer_shape = [ready](const PredictionRequest& request) {
    if (!request.problem.empty()) problem_named(ready->description, request.problem);  // throws before the request waits
    return answer_shape(ready->loaded.model, request);
  };
  served.predict = [ready](const PredictionRequest& request) { return ready->predictor.lead(request); };
  served.follow = [ready] { ready->predictor.follow(); };
  return served;
}

std::vector<fs::path> model_folders(const fs::path& repository) {
  if (!fs::is_directory(repository)) {
    throw ConfigError(concat("model-repository ", repository.string(), ": is no folder; give one that holds model directories"));
  }
  std::vector<fs::path> folders;
  for (const auto& entry : fs::directory_iterator(repository)) {
    std::error_code error;
    if (fs::exists(entry.path() / "config.json", error)) folders.push_back(entry.path());
    if (error == std::errc::permission_denied) {
      throw ConfigError(concat("model-repository ", repository.string(), ": ", entry.path().filename().string(),
                               " cannot be looked into; make it readable, or give a folder of models alone"));
    }
  }
  if (folders.empty()) {
    throw ConfigError(concat("model-repository ", repository.string(), ": none of its folders has a config.json; ",
                             fs::exists(repository / "config.json") ? "it is a model directory itself, so give the folder that it lies in"
                                                                    : "put model directories into it"));
  }
  std::ranges::sort(folders);
  return folders;
}

std::vector<ServedModel> load_repository(const fs::path& repository, const Computing& computing, const Mesh& mesh) {
  std::vector<ServedModel> models;
  for (const fs::path& folder : model_folders(repository)) {
    const std::string name = folder.filename().string();
    try {
      models.push_back(
          serve_model(name, load_model(folder, mesh, {.dtype = computing.precision, .device = computing.device}), computing, mesh));
    } catch (const Error& error) {
      throw CheckpointError(concat("model \"", name, "\" of ", repository.string(), ": ", error.what()));
    }
  }
  return models;
}

}  // namespace trident
