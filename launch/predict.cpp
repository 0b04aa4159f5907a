/// trident predict: fields in, fields out, by a model here or through the service.
#include <iostream>
#include <memory>

#include "checkpoint/model_directory.h"
#include "launch/commands.h"
#include "launch/device_choice.h"
#include "launch/field_file.h"
#include "launch/mesh_choice.h"
#include "launch/question.h"
#include "models/mesh_prediction.h"
#include "models/model_description.h"
#include "models/prediction.h"
#include "rpc/client.h"
#include "runtime/autograd/tape.h"

namespace trident {
namespace {

struct PredictOptions {
  std::string model, output;
  QuestionOptions question;
  std::optional<std::string> server;
  std::vector<std::string> overrides;
  bool overwrite = false;
};

/// Points along y and x of a request's fields, if it is one for the model.
std::array<std::int64_t, 2> points_of(const Model& model, const Tensor& input) {
  const int last = model->num_dims() + 1;  // axis
  if (input.rank() <= last) return {1, 1};
  return {model->num_dims() > 1 ? input.size(last - 1) : 1, input.size(last)};
}

Notes notes_of(const QuestionOptions& options, const std::optional<Problem>& problem) {
  Notes notes;
  // What `trident plot` needs to find names and the truth.
  if (problem) {
    notes["problem"] = options.problem;
    notes["description"] = to_json(to_config(*problem), 0);
  }
  if (options.trajectory) {
    notes["trajectory"] = std::to_string(*options.trajectory);
    notes["frame"] = std::to_string(options.frame);
  }
  return notes;
}

std::vector<FieldDescription> answer_fields(const PredictionRequest& request, const Shape& output) {
  const DType dtype = request.input.dtype();
  std::vector<FieldDescription> fields{{"input", dtype, request.input.shape()}, {"output", dtype, output}};
  if (request.time.defined()) fields.push_back({"time", request.time.dtype(), request.time.shape()});
  return fields;
}

/// By all ranks together, each of which reads, computes and writes its part. The extents of the answer.
Shape predict_here(const PredictOptions& options, CommandContext& context) {
  const auto [parallel, document] = parallel_of(options.overrides);
  const ConfigValue config = read_model_config(options.model);
  const Question question = ask(options.question, read_model_description(read_trident_json(options.model)));
  const PredictionRequest& request = question.request;
  MeshLoad load{.models = {config}, .points = points_of(describe_model(config, Mesh()), request.input)};
  if (request.input.rank() > 0) load.batch = request.input.size(0);
  const Computing computing = computing_of(context);
  const Mesh mesh = make_inference_mesh(parallel, document, load, context);
  const LoadedModel loaded = load_model(options.model, mesh, {.dtype = computing.precision, .device = computing.device});
  const Recording off(false);
  const ModelDescription description = read_model_description(loaded.description);
  const Model& model = loaded.model;
  const MeshPredictor predictor(
      model, mesh, [&](const std::string& name) { return problem_named(description, name); }, computing);

  const FieldPieces asked = predictor.input_share(request).pieces, answered = predictor.output_share(request).pieces;
  const bool pairs = model->is_complex() && !is_complex(request.input.dtype());
  const Tensor input = question.read(asked, model->num_dims(), pairs);
  const Tensor output = predictor.answer_part(request, input);

  const Shape shape = answer_shape(model, request);
  FieldFileWriter file(options.output, answer_fields(request, shape), notes_of(options.question, question.problem), mesh.world());
  if (mesh.coordinate(Axis::tensor) == 0) {  // its other ranks have the same
    file.write("input", asked, input, model->num_dims(), pairs);
    file.write("output", answered, output, model->num_dims(), pairs);
  }
  if (request.time.defined() && mesh.world().rank() == 0) file.write("time", whole_box(request.time.shape()), request.time);
  file.commit();
  return shape;
}

Shape predict_there(const PredictOptions& options, CommandContext& context) {
  if constexpr (build::kHasGrpc) {
    Client client(*options.server);
    // The service knows the problems of the user's own that its models were trained on.
    const Question question =
        ask(options.question, options.question.problem.empty() ? ModelDescription{} : client.description(options.model));
    PredictionRequest request = question.request;
    request.input = question.read_all();
    const Tensor output = client.predict(options.model, request);
    FieldFileWriter file(options.output, answer_fields(request, output.shape()), notes_of(options.question, question.problem),
                         *context.session.world());
    file.write("input", whole_box(request.input.shape()), request.input);
    file.write("output", whole_box(output.shape()), output);
    if (request.time.defined()) file.write("time", whole_box(request.time.shape()), request.time);
    file.commit();
    return output.shape();
  } else {
    throw ConfigError("--server: this build has no gRPC; configure with -DTRIDENT_GRPC=ON");
  }
}

void run_predict(const PredictOptions& options, CommandContext& context) {
  Communicator& world = *context.session.world();
  if (world.size() > 1 && options.server) {
    throw ConfigError(
        concat("predict: started on ", world.size(), " ranks, but the service computes; start it without a launcher or with -n 1"));
  }
  check_target(options.output, options.overwrite ? Overwrite::yes : Overwrite::no);
  const Shape output = options.server ? predict_there(options, context) : predict_here(options, context);
  if (world.rank() != 0) return;
  if (context.common.json) {
    ConfigValue shape = ConfigValue::list();
    for (const std::int64_t extent : output) shape.append(extent);
    std::cout << to_json(ConfigValue::map({{"output", options.output}, {"shape", shape}})) << '\n';
  } else {
    std::cerr << concat("output ", to_string(output), " written to ", options.output, "\n");
  }
}

}  // namespace

Command predict_command() {
  return {"predict", "applies a model to fields", [](Arguments& arguments) {
            auto options = std::make_shared<PredictOptions>();
            arguments.add("--model", options->model, "model directory; with --server the model's name there", Presence::required);
            arguments.add("--input", options->question.input, "file with `input`, and `time` and `pixel_mask` where needed; or a data set",
                          Presence::required);
            arguments.add("--output", options->output, ".safetensors or .h5 to write", Presence::required);
            arguments.add("--server", options->server, "HOST:PORT of a service that computes");
            arguments.add("--time", options->question.time, "lead time of every sample: frames with --problem, else the model's own unit");
            arguments.add("--steps", options->question.steps, "roll out in so many steps");
            arguments.add("--problem", options->question.problem, "fields and time are physical fields of this problem");
            arguments.add("--trajectory", options->question.trajectory, "the input is this trajectory of a data set");
            arguments.add("--frame", options->question.frame, "and this frame");
            arguments.add("key=value", options->overrides, "how ranks share the model: parallel.domain_y=2 (docs/parallelism.md)");
            arguments.flag("--overwrite", options->overwrite, "replace an existing output");
            return [options](CommandContext& context) { run_predict(*options, context); };
          }};
}

}  // namespace trident
