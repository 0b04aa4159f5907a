/// Predictions that all ranks of a mesh compute together, each its part of the fields and of the model.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "models/prediction.h"
#include "models/problem.h"

namespace trident {

class MeshPredictor {
 public:
  using FindProblem = std::function<Problem(const std::string& name)>;  // throws ConfigError for an unknown name
  /// Collective.
  MeshPredictor(const Model& model, const Mesh& mesh, FindProblem find_problem, const Computing& computing);

  /// Of a request that rank 0 alone has; it alone gets the answer: what predict() gives and throws. A request that any rank refuses, or
  /// lacks the memory to begin with, is over on all of them, and the next may come. A rank that fails amid the exchanges of a model, where
  /// the others wait for it, ends the job with its name after some seconds.
  Tensor lead(const PredictionRequest& request) const;
  /// The others, once for each request that rank 0 leads.
  void follow() const;

  /// What this rank holds of the input of a request, and of its answer. `request` is the same on all ranks but for the input, of which only
  /// type and extents are looked at. Throws ShapeError, ConfigError.
  FieldShare input_share(const PredictionRequest& request) const;
  FieldShare output_share(const PredictionRequest& request) const;
  /// This rank's part of the answer from its part of the input, both with pairs if the request has them: no rank has the whole.
  Tensor answer_part(const PredictionRequest& request, const Tensor& part) const;

 private:
  struct Header;
  Tensor compute(const Header& header, const PredictionRequest& request, const Agree& agree) const;
  Tensor answer_of(PredictionRequest part, const FieldShare& share, const Agree& agree) const;
  FieldShare share_of_extents(std::int64_t samples, const std::vector<std::int64_t>& extents) const;
  /// Runs `work`, whose ranks agree on what any of them meets.
  Tensor with_agreement(const std::function<Tensor(const Agree&)>& work) const;
  std::optional<Problem> problem_of(const PredictionRequest& request) const;

  Model model_;
  Prepared prepared_;
  Mesh mesh_;
  FindProblem find_problem_;
  Computing computing_;
  std::unique_ptr<Communicator> giving_up_;  // of all ranks, with a deadline of its own
};

}  // namespace trident
