/// What `trident predict` asks: fields of a file or of a data set, read by parts so that no rank needs the whole.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "launch/field_file.h"
#include "models/model_description.h"
#include "models/prediction.h"

namespace trident {

/// As the command line names it.
struct QuestionOptions {
  std::string input;    // a file of fields, or a data set if there is a trajectory
  std::string problem;  // empty: fields and time are the model's own numbers
  std::optional<std::int64_t> trajectory, steps;
  std::optional<double> time;
  int frame = 0;
};

struct Question {
  std::optional<Problem> problem{};  // that the request names
  PredictionRequest request;         // its input has extents and a type, but no memory for its numbers
  /// Pieces of the input, one behind the other, of fields with `num_dims` axes of space; pairs: and a last one of real and imaginary parts.
  std::function<Tensor(const FieldPieces& pieces, int num_dims, bool pairs)> read;
  std::function<Tensor()> read_all;
};

/// Reads all but the input. Throws ConfigError, DataError.
Question ask(const QuestionOptions& options, const ModelDescription& description);

}  // namespace trident
