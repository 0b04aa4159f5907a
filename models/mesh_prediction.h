/// Predictions that all ranks of a mesh compute together, each its part of the fields and of the model. Rank 0 leads: it alone has the
/// request and gets the answer.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "models/prediction.h"
#include "models/problem.h"

namespace trident {

class MeshPredictor {
 public:
  using FindProblem = std::function<Problem(const std::string& name)>;  // throws ConfigError for an unknown name
  MeshPredictor(Model model, const Mesh& mesh, FindProblem find_problem, DType precision);

  /// Rank 0: what predict() gives and throws. A refused request is over on all ranks.
  Tensor lead(const PredictionRequest& request) const;
  /// The others, once for each request that rank 0 leads.
  void follow() const;

 private:
  struct Header;
  Tensor compute(const Header& header, const PredictionRequest& request) const;
  std::optional<Problem> problem_of(const PredictionRequest& request) const;

  Model model_;
  Prepared prepared_;
  Mesh mesh_;
  FindProblem find_problem_;
  DType precision_;
};

}  // namespace trident
