/// A model as the engine sees it: what it takes and gives, and how to compute it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "models/prediction.h"
#include "rpc/statistics.h"

namespace trident {

/// The parameter of a model's configuration that carries ServedDescription::problems.
inline constexpr const char* kProblemsParameter = "trident.json";

/// What clients are told of a model.
struct ServedDescription {
  std::string name;
  int num_channels = 0, num_out_channels = 0, num_dims = 2;
  bool complex = false;  // fields travel as pairs of reals on a last axis
  bool uses_time = false;
  std::string problems = {};  // trident.json: what fields and times of requests that name a problem are; may be empty
  std::int64_t max_batch_size = 256;
};

/// A value of functions, so that the engine is tested without a network.
struct ServedModel {
  ServedDescription description;
  Device device;  // that it computes on
  /// The shape of the answer, from shapes alone. Throws ShapeError or ConfigError where the request does not fit the model.
  std::function<Shape(const PredictionRequest&)> answer_shape;
  /// Called by the computing thread alone; on rank 0 of the mesh that the model is shared out over.
  std::function<Tensor(const PredictionRequest&)> predict;
  /// What its other ranks call, once for each such call.
  std::function<void()> follow = [] {};
  std::shared_ptr<Statistics> statistics = std::make_shared<Statistics>();
};

}  // namespace trident
