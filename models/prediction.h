/// Fields in, fields out: what `trident predict` and the service do, in one function, so that their answers are the same bits.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "models/field_share.h"
#include "models/model.h"
#include "parallel/agreement.h"

namespace trident {

struct Problem;  // models/problem.h

struct PredictionRequest {
  // (batch, channel, space...), f32 or f64; of models of complex fields c64 or c128, or their pairs of reals on a last axis of 2.
  Tensor input;
  Tensor time;        // (batch,) or (batch, 1): the whole lead time; needed by models conditioned on time, refused by others
  Tensor pixel_mask;  // bool (batch, channel), optional: true keeps the input's values
  std::optional<std::int64_t> steps;    // roll-out; each step advances time / steps
  std::string problem;                  // of the model's problems; empty: fields and time are the model's own numbers
  std::function<void()> between_steps;  // called between the steps of a roll-out, where it may end it by an exception; may be empty
};

/// (batch, out channel, space...), or (batch, steps, out channel, space...) with `steps`, also if it is 1; pairs where the input is pairs.
/// Throws ShapeError or ConfigError that says what was expected.
Shape answer_shape(const Model& model, const PredictionRequest& request);

/// What answer_shape() leaves open: channels of the problem, and time. Throws ShapeError, ConfigError.
void check_request(const Model& model, const PredictionRequest& request, const Problem* problem);

/// The answer on the host, in the number type of the input; computed where the model lies, in its numbers.
/// `problem`: what request.problem names, or null. With it fields are physical and time is in frames; the channels that it masks are its
/// constants in every output and feedback. Throws ShapeError, ConfigError, or DataError on numbers that are not finite.
Tensor predict(const Model& model, const Prepared& prepared, const PredictionRequest& request, const Problem* problem,
               const Computing& computing);

/// This rank's part of an answer from its parts of the fields, complex ones as complex numbers; time and mask have a row for each row of
/// the part. Nothing is checked that answer_shape() and check_request() have for the whole. What a rank meets alone before its model runs,
/// or between two steps, all hear of through `agree`.
Tensor predict_part(const Model& model, const Prepared& prepared, const PredictionRequest& part, const FieldShare& share,
                    const Problem* problem, const Computing& computing, const Agree& agree);

}  // namespace trident
