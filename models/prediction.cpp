#include "models/prediction.h"

#include <vector>

#include "models/normalization.h"
#include "models/problem.h"
#include "models/rollout.h"
#include "runtime/autograd/tape.h"
#include "runtime/error.h"
#include "runtime/ops/elementwise.h"
#include "runtime/ops/reduce.h"
#include "runtime/ops/shape.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"

namespace trident {
namespace {

std::string described(const Tensor& x) { return x.defined() ? concat(name_of(x.dtype()), " ", to_string(x.shape())) : "missing"; }

void require_finite(const char* what, const Tensor& x) {
  if (!all_finite(x)) throw DataError(concat("prediction: ", what, " holds numbers that are not finite (NaN or infinite); remove them"));
}

void check_channels(const Model& model, const Problem& problem) {
  const auto in = static_cast<int>(problem.input.size()), out = static_cast<int>(problem.output.size());
  if (in == model->num_channels() && out == model->num_out_channels()) return;
  throw ConfigError(concat("prediction: problem ", problem.name, " has ", in, " input and ", out, " output channels, but the model has ",
                           model->num_channels(), " and ", model->num_out_channels(), "; name a problem that the model was trained for"));
}

/// (batch,), in the model's units; undefined for models without time.
Tensor lead_time(const Model& model, const PredictionRequest& request, const Problem* problem) {
  const std::int64_t batch = request.input.size(0);
  if (!model->uses_time()) {
    if (!request.time.defined()) return {};
    throw ShapeError("prediction: time is given, but this model is not conditioned on time; leave it out");
  }
  if (!request.time.defined() && problem != nullptr && problem->steady) return full({batch}, 1.0, request.input.dtype());
  const Shape& shape = request.time.shape();
  if (!request.time.defined() || !(shape == Shape{batch} || shape == Shape{batch, 1}) || !is_floating(request.time.dtype())) {
    throw ShapeError(concat("prediction: time is ", described(request.time), "; this model is conditioned on time and expects one lead time ",
                            "for each of the ", batch, " samples: (", batch, ") or (", batch, ", 1) floating numbers"));
  }
  require_finite("time", request.time);
  const Tensor time = reshape(contiguous(request.time), {batch});
  if (problem == nullptr || !problem->time_scale) return time;
  return time / full({1}, *problem->time_scale, time.dtype());
}

/// Whether the input is exactly 1 at each point of each sample: inside the body of a flow problem.
std::vector<bool> inside_body(const Tensor& input) {
  const std::int64_t batch = input.size(0), points = input.size(2) * input.size(3);
  const Tensor bodies = empty({batch, 1, input.size(2), input.size(3)}, DType::f64);
  copy_into(bodies, view::slice(input, 1, 0, 1));
  std::vector<bool> inside;
  for (std::int64_t i = 0; i < batch * points; ++i) inside.push_back(bodies.data<double>()[i] == 1.0);
  return inside;
}

/// (batch, channel, y, x) where a mask goes by points, else (batch, channel, 1, 1).
Tensor kept_mask(const Model& model, const PredictionRequest& request, const Problem* problem) {
  const std::int64_t batch = request.input.size(0), out = model->num_out_channels();
  const bool by_point = problem != nullptr && problem->mask == MaskRule::input_is_one;
  const bool by_channel = problem != nullptr && problem->mask == MaskRule::channels;
  if (!by_point && !by_channel && !request.pixel_mask.defined()) return {};
  const std::int64_t rows = by_point ? request.input.size(2) : 1, columns = by_point ? request.input.size(3) : 1, points = rows * columns;
  const Tensor given = request.pixel_mask.defined() ? packed(request.pixel_mask) : Tensor{};
  const std::vector<bool> inside = by_point ? inside_body(request.input) : std::vector<bool>(static_cast<std::size_t>(batch), false);
  const Tensor mask = empty({batch, out, rows, columns}, DType::boolean);
  bool* target = mask.data<bool>();
  for (std::int64_t sample = 0; sample < batch; ++sample) {
    for (std::int64_t channel = 0; channel < out; ++channel) {
      const bool whole = (given.defined() && given.data<bool>()[sample * given.size(1) + channel]) ||
                         (by_channel && problem->output[static_cast<std::size_t>(channel)].masked);
      for (std::int64_t point = 0; point < points; ++point) {
        *target++ = whole || inside[static_cast<std::size_t>(sample * points + point)];
      }
    }
  }
  return mask;
}

/// What stands at masked places: the input's values, the problem's constants, and 1 (the model's number) inside a body.
Tensor kept_values(const Model& model, const PredictionRequest& request, const Problem* problem) {
  const Tensor& input = request.input;
  const std::int64_t in = model->num_channels(), out = model->num_out_channels();
  if (problem != nullptr && problem->mask == MaskRule::input_is_one) {
    return denormalize(full({input.size(0), out, input.size(2), input.size(3)}, 1.0, input.dtype()), problem->output);
  }
  if (in < out) {
    throw ShapeError(concat("prediction: masked channels keep the input's values, but the model has ", in, " input and ", out,
                            " output channels; leave pixel_mask out"));
  }
  const Tensor values = empty({input.size(0), out, input.size(2), input.size(3)}, input.dtype());
  copy_into(values, view::slice(input, 1, 0, out));
  if (problem != nullptr) fill_masked_channels(values, problem->output);
  return values;
}

}  // namespace

Shape answer_shape(const Model& model, const PredictionRequest& request) {
  const Tensor& x = request.input;
  const int in = model->num_channels(), out = model->num_out_channels();
  if (!x.defined() || x.rank() != 4 || x.size(1) != in || x.size(2) != x.size(3) || x.size(2) < 2 || x.size(0) < 1 ||
      (x.dtype() != DType::f32 && x.dtype() != DType::f64)) {
    throw ShapeError(concat("prediction: input is ", described(x), "; expected f32 or f64 (batch, ", in, ", n, n): the model has ", in,
                            " input channels and fields are square"));
  }
  const Tensor& mask = request.pixel_mask;
  if (mask.defined() && !(mask.dtype() == DType::boolean && (mask.shape() == Shape{x.size(0), in} || mask.shape() == Shape{x.size(0), out}))) {
    throw ShapeError(concat("prediction: pixel_mask is ", described(mask), "; expected bool (", x.size(0), ", ", out, "), one for each channel"));
  }
  if (!request.steps) return {x.size(0), out, x.size(2), x.size(3)};
  if (*request.steps < 1) throw ShapeError(concat("prediction: steps is ", *request.steps, "; expected at least 1"));
  return {x.size(0), *request.steps, out, x.size(2), x.size(3)};
}

Tensor predict(const Model& model, const Prepared& prepared, const PredictionRequest& request, const Problem* problem, DType precision) {
  const Recording off(false);
  const Shape shape = answer_shape(model, request);
  const DType dtype = request.input.dtype();
  require_finite("input", request.input);
  if (problem != nullptr) check_channels(model, *problem);
  const auto normalized = [&](const Tensor& x, bool outputs) {
    return cast(problem == nullptr ? x : normalize(x, outputs ? problem->output : problem->input), precision);
  };

  Fields fields{.input = normalized(request.input, false), .time = lead_time(model, request, problem), .pixel_mask = {}, .label = {}};
  require_finite("input, as the model's numbers,", fields.input);
  const Tensor mask = kept_mask(model, request, problem);
  const Tensor kept = mask.defined() ? kept_values(model, request, problem) : Tensor{};
  if (mask.defined()) fields.pixel_mask = mask.size(2) == 1 ? view::reshape(mask, {mask.size(0), mask.size(1)}) : mask;
  if (kept.defined()) fields.label = normalized(kept, true);

  const std::int64_t steps = request.steps.value_or(1);
  const Tensor answer = empty({shape[0], steps, model->num_out_channels(), request.input.size(2), request.input.size(3)}, dtype);
  Pass pass;
  pass.precision = precision;
  roll_out(model, prepared, fields, equal_steps(steps), pass, [&](std::size_t step, const Tensor& output) {
    if (!all_finite(output)) {
      throw Error(concat("prediction: the model's output of step ", step + 1, " is not finite; is the input of the kind it was trained on?"));
    }
    Tensor physical = cast(output, dtype);
    if (problem != nullptr) physical = denormalize(physical, problem->output);
    if (kept.defined()) physical = where(mask, kept, physical);
    const auto index = static_cast<std::int64_t>(step);
    const Tensor slot = view::slice(answer, 1, index, index + 1);
    copy_into(slot, view::reshape(packed(physical), slot.shape()));
  });
  return view::reshape(answer, shape);
}

}  // namespace trident
