/// trident predict: fields in, fields out, by a model here or through the service.
#include <iostream>
#include <memory>

#include "checkpoint/model_directory.h"
#include "launch/commands.h"
#include "launch/data/dataset.h"
#include "launch/field_file.h"
#include "launch/mesh_choice.h"
#include "models/mesh_prediction.h"
#include "models/model_description.h"
#include "models/normalization.h"
#include "models/prediction.h"
#include "rpc/client.h"
#include "runtime/autograd/tape.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

struct PredictOptions {
  std::string model, input, output;
  std::optional<std::string> server;
  std::optional<double> time;
  std::optional<std::int64_t> steps, trajectory;
  std::string problem;
  std::vector<std::string> overrides;
  int frame = 0;
  bool overwrite = false;
};

struct Answer {
  PredictionRequest request;
  Tensor output;
};

/// Points along y and x of a request's fields, if it is one for the model.
std::array<std::int64_t, 2> points_of(const Model& model, const Tensor& input) {
  const int last = model->num_dims() + 1;  // axis
  if (input.rank() <= last) return {1, 1};
  return {model->num_dims() > 1 ? input.size(last - 1) : 1, input.size(last)};
}

/// Rank 0's batch and points on all ranks, so that they choose the same mesh.
void share(Communicator& world, MeshLoad& load) {
  const Tensor numbers = from_values<std::int64_t>({3}, std::vector{load.batch, load.points[0], load.points[1]});
  world.broadcast(numbers, 0);
  const std::int64_t* const shared = numbers.data<std::int64_t>();
  load.batch = shared[0];
  load.points = {shared[1], shared[2]};
}

/// One frame of a data set as physical fields with all input channels of the problem: (1, channel, y, x).
Tensor read_frame(const PredictOptions& options, Problem problem) {
  DataEntry entry;
  entry.problem = options.problem;
  entry.path = options.input;
  entry.trajectories = {*options.trajectory, *options.trajectory + 1};
  problem.times = {.max_num_time_steps = 1, .time_step_size = 1, .allowed_time_transitions = {}, .fix_input_to_time_step = {}};
  const std::vector<Channel> channels = problem.input;
  const Dataset dataset = Dataset({open_member(std::move(problem), entry, Split::test)}).with_pairs({{options.frame, options.frame}});
  const Tensor input = empty({1, dataset.in_channels(), dataset.ny(), dataset.nx()}, DType::f32);
  std::vector<float> label(static_cast<std::size_t>(dataset.out_channels() * dataset.ny() * dataset.nx()));
  const auto mask = std::make_unique<bool[]>(static_cast<std::size_t>(dataset.ny() * dataset.nx()) + label.size());
  dataset.read(0, {input.data<float>(), label.data(), dataset.mask() == Dataset::Mask::none ? nullptr : mask.get()});
  return denormalize(input, channels);
}

PredictionRequest request_of(const PredictOptions& options, const ModelDescription& description) {
  PredictionRequest request;
  request.problem = options.problem;
  request.steps = options.steps;
  if (options.trajectory) {
    if (options.problem.empty()) throw ConfigError("--trajectory: the input is then a data set, and --problem says what its fields are");
    request.input = read_frame(options, problem_named(description, options.problem));
  } else {
    const FieldFile file = read_field_file(options.input);
    request.input = file.find("input");
    request.time = file.find("time");
    request.pixel_mask = file.find("pixel_mask");
    if (!request.input.defined()) {
      throw DataError(
          concat(options.input, ": has no tensor \"input\" (batch, channel, y, x); of a data set choose --trajectory and --frame"));
    }
  }
  if (options.time) {
    request.time = full({request.input.size(0)}, *options.time, request.input.dtype());
  }
  return request;
}

/// By all ranks together; the answer is on rank 0, which alone reads the input. Nothing on the others.
std::optional<Answer> predict_here(const PredictOptions& options, DType precision, CommandContext& context) {
  const auto [parallel, document] = parallel_of(options.overrides);
  const bool first = context.session.world()->rank() == 0;
  const ConfigValue config = read_model_config(options.model);
  Answer answer;
  MeshLoad load{.models = {config}};
  if (first) {
    answer.request = request_of(options, read_model_description(read_trident_json(options.model)));
    load.batch = answer.request.input.size(0);
    load.points = points_of(describe_model(config, Mesh()), answer.request.input);
  }
  share(*context.session.world(), load);
  const Mesh mesh = make_inference_mesh(parallel, document, load, context);
  const LoadedModel loaded = load_model(options.model, mesh, {.dtype = precision});
  const Recording off(false);
  const ModelDescription description = read_model_description(loaded.description);
  const MeshPredictor predictor(loaded.model, mesh, [&](const std::string& name) { return problem_named(description, name); }, precision);
  if (!first) {
    predictor.follow();
    return std::nullopt;
  }
  answer.output = predictor.lead(answer.request);
  return answer;
}

Answer predict_there(const PredictOptions& options) {
  if constexpr (build::kHasGrpc) {
    Answer answer{.request = request_of(options, {}), .output = {}};
    answer.output = Client(*options.server).predict(options.model, answer.request);
    return answer;
  } else {
    throw ConfigError("--server: this build has no gRPC; configure with -DTRIDENT_GRPC=ON");
  }
}

FieldFile answer_file(const PredictOptions& options, const PredictionRequest& request, const Tensor& output) {
  FieldFile file;
  file.tensors = {{"input", request.input}, {"output", output}};
  if (request.time.defined()) file.tensors.push_back({"time", request.time});
  // What `trident plot` needs to find names and the truth.
  if (!options.problem.empty()) file.notes["problem"] = options.problem;
  if (options.trajectory) {
    file.notes["trajectory"] = std::to_string(*options.trajectory);
    file.notes["frame"] = std::to_string(options.frame);
  }
  return file;
}

void run_predict(const PredictOptions& options, CommandContext& context) {
  if (const int ranks = context.session.world()->size(); ranks > 1 && options.server) {
    throw ConfigError(concat("predict: started on ", ranks, " ranks, but the service computes; start it without a launcher or with -n 1"));
  }
  if (context.common.precision == Precision::bf16) throw ConfigError("--precision: bf16 needs a CUDA device; take f32 or f64");
  check_target(options.output, options.overwrite ? Overwrite::yes : Overwrite::no);
  const DType precision = dtype_of_precision(context.common.precision.value_or(Precision::f32));
  const std::optional<Answer> answer = options.server ? predict_there(options) : predict_here(options, precision, context);
  if (!answer) return;
  const auto& [request, output] = *answer;
  write_field_file(options.output, answer_file(options, request, output));
  if (context.common.json) {
    ConfigValue shape = ConfigValue::list();
    for (int dim = 0; dim < output.rank(); ++dim) shape.append(output.size(dim));
    std::cout << to_json(ConfigValue::map({{"output", options.output}, {"shape", shape}})) << '\n';
  } else {
    std::cerr << concat("output ", to_string(output.shape()), " written to ", options.output, "\n");
  }
}

}  // namespace

Command predict_command() {
  return {"predict", "applies a model to fields", [](Arguments& arguments) {
            auto options = std::make_shared<PredictOptions>();
            arguments.add("--model", options->model, "model directory; with --server the model's name there", Presence::required);
            arguments.add("--input", options->input, "file with `input`, and `time` and `pixel_mask` where needed; or a data set",
                          Presence::required);
            arguments.add("--output", options->output, ".safetensors or .h5 to write", Presence::required);
            arguments.add("--server", options->server, "HOST:PORT of a service that computes");
            arguments.add("--time", options->time, "lead time of every sample: frames with --problem, else the model's own unit");
            arguments.add("--steps", options->steps, "roll out in so many steps");
            arguments.add("--problem", options->problem, "fields and time are physical fields of this problem");
            arguments.add("--trajectory", options->trajectory, "the input is this trajectory of a data set");
            arguments.add("--frame", options->frame, "and this frame");
            arguments.add("key=value", options->overrides, "how ranks share the model: parallel.domain_y=2 (docs/parallelism.md)");
            arguments.flag("--overwrite", options->overwrite, "replace an existing output");
            return [options](CommandContext& context) { run_predict(*options, context); };
          }};
}

}  // namespace trident
