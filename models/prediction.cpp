#include "models/prediction.h"

#include <algorithm>
#include <exception>
#include <vector>

#include "models/normalization.h"
#include "models/problem.h"
#include "models/rollout.h"
#include "runtime/autograd/tape.h"
#include "runtime/error.h"
#include "runtime/ops/complex.h"
#include "runtime/ops/elementwise.h"
#include "runtime/ops/reduce.h"
#include "runtime/ops/shape.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/host_copy.h"
#include "runtime/tensor/view.h"

namespace trident {
namespace {

constexpr std::int64_t kMostSteps = 10'000;  // of one roll-out: as many snapshots as a data set's samples may have

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

/// Whether the lead time is known without being given.
bool is_steady(const Problem* problem) { return problem != nullptr && problem->steady; }

void check_time(const Model& model, const PredictionRequest& request, const Problem* problem) {
  const std::int64_t batch = request.input.size(0);
  if (!model->uses_time()) {
    if (!request.time.defined()) return;
    throw ShapeError("prediction: time is given, but this model is not conditioned on time; leave it out");
  }
  if (!request.time.defined() && is_steady(problem)) return;
  const bool fits = request.time.defined() && is_floating(request.time.dtype()) &&
                    (request.time.shape() == Shape{batch} || request.time.shape() == Shape{batch, 1});
  if (fits) return;
  throw ShapeError(concat("prediction: time is ", described(request.time), "; this model is conditioned on time and expects one lead time ",
                          "for each of the ", batch, " samples: (", batch, ") or (", batch, ", 1) floating numbers"));
}

/// (batch,), in the model's units; undefined for models without time.
Tensor lead_time(const Model& model, const PredictionRequest& request, const Problem* problem) {
  const std::int64_t batch = request.input.size(0);
  if (!model->uses_time()) return {};
  if (!request.time.defined()) return full({batch}, 1.0, request.input.dtype());
  require_finite("time", request.time);
  const Tensor time = reshape(contiguous(request.time), {batch});
  if (problem == nullptr || !problem->time_scale) return time;
  return time / full({1}, *problem->time_scale, time.dtype());
}

/// `shape` with another number of channels.
Shape with_channels(Shape shape, std::int64_t channels) {
  shape[1] = channels;
  return shape;
}

/// Whether the input is exactly 1 at each point of each sample: inside the body of a flow problem.
std::vector<bool> inside_body(const Tensor& input) {
  const Tensor bodies = empty(with_channels(input.shape(), 1), DType::f64);
  copy_into(bodies, view::slice(input, 1, 0, 1));
  std::vector<bool> inside;
  for (std::int64_t i = 0; i < bodies.numel(); ++i) inside.push_back(bodies.data<double>()[i] == 1.0);
  return inside;
}

/// (batch, channel, space...) where a mask goes by points, else (batch, channel, 1, ...).
Tensor kept_mask(const Model& model, const PredictionRequest& request, const Problem* problem) {
  const std::int64_t batch = request.input.size(0), out = model->num_out_channels();
  const bool by_point = problem != nullptr && problem->mask == MaskRule::input_is_one;
  const bool by_channel = problem != nullptr && problem->mask == MaskRule::channels;
  if (!by_point && !by_channel && !request.pixel_mask.defined()) return {};
  Shape shape = with_channels(request.input.shape(), out);
  for (int dim = 2; dim < shape.rank() && !by_point; ++dim) shape[dim] = 1;
  const std::int64_t points = numel(shape) / std::max<std::int64_t>(1, batch * out);
  const Tensor given = request.pixel_mask.defined() ? packed(request.pixel_mask) : Tensor{};
  const std::vector<bool> inside = by_point ? inside_body(request.input) : std::vector<bool>(static_cast<std::size_t>(batch), false);
  const Tensor mask = empty(shape, DType::boolean);
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
    return denormalize(full(with_channels(input.shape(), out), 1.0, input.dtype()), problem->output, model->num_dims());
  }
  if (in < out) {
    throw ShapeError(concat("prediction: masked channels keep the input's values, but the model has ", in, " input and ", out,
                            " output channels; leave pixel_mask out"));
  }
  const Tensor values = empty(with_channels(input.shape(), out), input.dtype());
  copy_into(values, view::slice(input, 1, 0, out));
  if (problem != nullptr) fill_masked_channels(values, problem->output, model->num_dims());
  return values;
}

/// "2, n, n": what a request's axes after the batch are.
std::string expected_axes(const Model& model) {
  std::string axes = std::to_string(model->num_channels());
  for (int dim = 0; dim < model->num_dims(); ++dim) axes += ", n";
  return axes;
}

/// Whether complex fields came as pairs of reals.
bool has_pairs(const Model& model, const Tensor& input) { return model->is_complex() && input.defined() && !is_complex(input.dtype()); }

void check_input(const Model& model, const Tensor& x) {
  const bool pairs = has_pairs(model, x);
  const bool number_type =
      x.defined() && (x.dtype() == DType::f32 || x.dtype() == DType::f64 || (model->is_complex() && is_complex(x.dtype())));
  const int rank = model->num_dims() + 2;
  if (!number_type || x.rank() != rank + (pairs ? 1 : 0) || x.size(1) != model->num_channels() || x.size(0) < 1 ||
      (pairs && x.size(-1) != 2)) {
    throw ShapeError(concat("prediction: input is ", described(x), "; expected ", model->is_complex() ? "c64 or c128" : "f32 or f64",
                            " (batch, ", expected_axes(model), ")",
                            model->is_complex() ? ", or its real and imaginary parts on a last axis of 2" : "", ": the model has ",
                            model->num_channels(), " input channels and ", model->num_dims(), " dimensions"));
  }
}

/// Fields <-> the model's numbers; without a problem they are these already.
class Conversion {
 public:
  Conversion(const Model& model, const Problem* problem, DType precision)
      : problem_(problem), dims_(model->num_dims()), precision_(parameter_type(precision)) {}
  Tensor input(const Tensor& x) const { return in_precision(problem_ == nullptr ? x : normalize(x, problem_->input, dims_)); }
  Tensor label(const Tensor& x) const { return in_precision(problem_ == nullptr ? x : normalize(x, problem_->output, dims_)); }
  Tensor output(const Tensor& y, DType dtype) const {
    const Tensor physical = is_complex(y.dtype()) ? complex_cast(y, real_of(dtype)) : cast(y, dtype);
    return problem_ == nullptr ? physical : denormalize(physical, problem_->output, dims_);
  }

 private:
  static Tensor complex_cast(const Tensor& x, DType part) { return complex(cast(packed(real(x)), part), cast(packed(imag(x)), part)); }
  Tensor in_precision(const Tensor& x) const { return is_complex(x.dtype()) ? complex_cast(x, precision_) : cast(x, precision_); }

  const Problem* problem_;
  int dims_;
  DType precision_;
};

/// What the model starts from, and what stands at masked places of its outputs.
struct Start {
  Fields fields;
  Tensor mask, kept;  // undefined without masks
};

Start start_of(const Model& model, const PredictionRequest& part, const FieldShare& share, const Problem* problem,
               const Conversion& conversion) {
  require_finite("input", part.input);
  Start start{.fields = {.input = conversion.input(part.input),
                         .time = lead_time(model, part, problem),
                         .pixel_mask = {},
                         .label = {},
                         .ny = share.ny,
                         .nx = share.nx,
                         .patches = share.units},
              .mask = kept_mask(model, part, problem),
              .kept = {}};
  require_finite("input, as the model's numbers,", start.fields.input);
  if (!start.mask.defined()) return start;
  const Tensor& mask = start.mask;
  start.kept = kept_values(model, part, problem);
  const bool by_channel = mask.numel() == mask.size(0) * mask.size(1);
  start.fields.pixel_mask = by_channel ? view::reshape(mask, {mask.size(0), mask.size(1)}) : mask;
  start.fields.label = conversion.label(start.kept);
  return start;
}

/// In memory that a GPU fetches by itself, to be kept until it has; for the CPU the fields themselves.
Fields staged_for(Device device, Fields fields) {
  if (device.kind == Device::Kind::cpu) return fields;
  for (Tensor* x : {&fields.input, &fields.time, &fields.pixel_mask, &fields.label}) {
    if (!x->defined()) continue;
    const Tensor staged = empty_pinned(x->shape(), x->dtype());
    copy_into(staged, *x);
    *x = staged;
  }
  return fields;
}

/// What one rank met alone in `stage`, made known to all.
template <class Stage>
void check_together(const Agree& agree, Stage stage) {
  run_agreed(agree, [&] {
    stage();
    return true;
  });
}

}  // namespace

Shape answer_shape(const Model& model, const PredictionRequest& request) {
  const Tensor& x = request.input;
  const int in = model->num_channels(), out = model->num_out_channels();
  check_input(model, x);
  const Tensor& mask = request.pixel_mask;
  if (mask.defined() &&
      !(mask.dtype() == DType::boolean && (mask.shape() == Shape{x.size(0), out} || (in > out && mask.shape() == Shape{x.size(0), in})))) {
    throw ShapeError(
        concat("prediction: pixel_mask is ", described(mask), "; expected bool (", x.size(0), ", ", out, "), one for each channel"));
  }
  if (request.steps && (*request.steps < 1 || *request.steps > kMostSteps)) {
    throw ShapeError(concat("prediction: steps is ", *request.steps, "; expected 1 to ", kMostSteps));
  }
  Shape shape{x.size(0)};
  if (request.steps) shape.push_back(*request.steps);
  shape.push_back(out);
  const std::vector<std::int64_t> extents(x.shape().begin() + 2, x.shape().begin() + 2 + model->num_dims());
  const std::vector<std::int64_t> answered = model->output_extents(extents);
  if (answered != extents && request.steps.value_or(1) > 1) {
    throw ShapeError(
        "prediction: the model's output has another resolution than its input, so it is no input of a further step; ask for one step");
  }
  for (const std::int64_t extent : answered) shape.push_back(extent);
  if (has_pairs(model, x)) shape.push_back(2);
  numel(shape);  // throws where it is more than can be counted
  return shape;
}

void check_request(const Model& model, const PredictionRequest& request, const Problem* problem) {
  if (problem != nullptr) check_channels(model, *problem);
  check_time(model, request, problem);
}

Tensor predict(const Model& model, const Prepared& prepared, const PredictionRequest& request, const Problem* problem,
               const Computing& computing) {
  const Shape shape = answer_shape(model, request);
  check_request(model, request, problem);
  PredictionRequest joined = request;
  const bool pairs = has_pairs(model, request.input);
  if (pairs) joined.input = view::as_complex(packed(request.input));
  const Tensor answer = predict_part(model, prepared, joined, {}, problem, computing, agree_with_nobody());
  return view::reshape(pairs ? view::as_real(answer) : answer, shape);
}

Tensor predict_part(const Model& model, const Prepared& prepared, const PredictionRequest& part, const FieldShare& share,
                    const Problem* problem, const Computing& computing, const Agree& agree) {
  const Recording off(false);
  const Conversion conversion(model, problem, computing.precision);
  const Start start = run_agreed(agree, [&] { return start_of(model, part, share, problem, conversion); });
  const Fields staged = staged_for(computing.device, start.fields);
  const std::int64_t steps = part.steps.value_or(1);
  Tensor answer;  // (batch, step, out channel, space...)
  Pass pass;
  pass.precision = computing.precision;
  roll_out(model, prepared, on_device(staged, computing.device), equal_steps(steps), pass, [&](std::size_t step, const Tensor& output) {
    check_together(agree, [&] {
      const HostCopy arriving(output);
      const Tensor& arrived = arriving.wait();
      if (!all_finite(arrived)) {
        throw Error(
            concat("prediction: the model's output of step ", step + 1, " is not finite; is the input of the kind it was trained on?"));
      }
      Tensor physical = conversion.output(arrived, part.input.dtype());
      if (start.kept.defined()) physical = where(start.mask, start.kept, physical);
      if (!answer.defined()) {
        Shape shape{physical.size(0), steps};
        for (int dim = 1; dim < physical.rank(); ++dim) shape.push_back(physical.size(dim));
        answer = empty(shape, part.input.dtype());
      }
      const auto index = static_cast<std::int64_t>(step);
      const Tensor slot = view::slice(answer, 1, index, index + 1);
      copy_into(slot, view::reshape(packed(physical), slot.shape()));
      if (index + 1 < steps && part.between_steps) part.between_steps();
    });
  });
  if (part.steps) return answer;
  Shape shape{answer.size(0)};
  for (int dim = 2; dim < answer.rank(); ++dim) shape.push_back(answer.size(dim));
  return view::reshape(answer, shape);
}

}  // namespace trident
