#include "tests/models/scot/mesh_cases.h"

#include <array>

#include "checkpoint/model_directory.h"
#include "checkpoint/sharded_checkpoint.h"
#include "models/losses.h"
#include "parallel/gradient_reducer.h"
#include "parallel/optimizer.h"
#include "runtime/autograd/tape.h"
#include "runtime/error.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"
#include "tests/models/support.h"
#include "tests/support/random_tensor.h"

namespace trident::testing {
namespace {

ScotConfig conditioned() {
  ScotConfig config = small_config();
  config.embed_dim = 12, config.num_heads = {3, 6}, config.depths = {2, 2}, config.skip_connections = {1, 1};
  config.initializer_range = 0.3;
  return config;
}

/// The rank's samples and rectangle of a tensor of the whole batch.
Tensor own_part(const Tensor& whole, Range samples, const Rectangle& rectangle) {
  Tensor part = view::slice(whole, 0, samples.first, samples.last);
  if (part.rank() == 4) {
    part = view::slice(part, 2, rectangle.rows.first, rectangle.rows.last);
    part = view::slice(part, 3, rectangle.columns.first, rectangle.columns.last);
  }
  const Tensor result = empty(part.shape(), part.dtype());
  copy_into(result, part);
  return result;
}

Tensor not_below(const Tensor& x, double bound) {
  const Tensor result = empty(x.shape(), DType::boolean), wide = empty(x.shape(), DType::f64);
  copy_into(wide, x);
  for (std::int64_t i = 0; i < x.numel(); ++i) result.data<bool>()[i] = wide.data<double>()[i] >= bound;
  return result;
}

Fields fields_of(const MeshCase& a_case, const Mesh& mesh, const Model& model, DType dtype, int step) {
  const ScotConfig& c = a_case.config;
  const auto seed = static_cast<std::uint64_t>(10 * step);
  const Range samples = part_of(a_case.batch, mesh.size(Axis::data), mesh.coordinate(Axis::data));
  const std::int64_t points = a_case.field_points();
  const Rectangle rectangle = model->rectangle(points, points);
  const auto own = [&](const Shape& shape, std::uint64_t which) {
    const Tensor part = own_part(random_tensor(shape, seed + which), samples, rectangle), result = empty(part.shape(), dtype);
    copy_into(result, part);
    return result;
  };
  Fields fields{.input = own({a_case.batch, c.num_channels, points, points}, 1),
                .time = own({a_case.batch}, 2),
                .pixel_mask = {},
                .label = own({a_case.batch, c.num_out_channels, points, points}, 3),
                .ny = points,
                .nx = points};
  if (a_case.masked) fields.pixel_mask = not_below(own({a_case.batch, 1, points, points}, 4), 1.0);
  return fields;
}

TrainingState state_of(const ParameterList& parameters, const AdamW& optimizer) {
  TrainingState state;
  add_pieces(state, "weights", parameters, parameters.values());
  for (const NamedPiece& piece : optimizer.state()) {
    state.pieces.push_back({"moments/" + piece.name, piece.piece.full_shape, piece.piece.owned, piece.replicated, piece.value});
  }
  return state;
}

}  // namespace

std::vector<MeshCase> mesh_cases() {
  MeshCase shifted{.name = "shifted windows, conditioned", .config = conditioned()};
  MeshCase padded{.name = "padded odd grids, position embeddings, absolute loss", .config = conditioned()};
  padded.config.image_size = 26, padded.config.use_absolute_embeddings = true, padded.config.p = 2;
  padded.config.channel_slice_list_normalized_loss.reset();
  padded.batch = 3;
  MeshCase chance{.name = "dropout everywhere, drop-path", .config = conditioned()};
  chance.config.hidden_dropout_prob = 0.2, chance.config.attention_probs_dropout_prob = 0.2, chance.config.drop_path_rate = 0.4;
  chance.config.learn_residual = true;
  MeshCase deep{.name = "three levels, plain norms, relu, no query bias", .config = conditioned()};
  deep.config.image_size = 32, deep.config.depths = {1, 2, 1}, deep.config.num_heads = {1, 2, 4}, deep.config.embed_dim = 16;
  deep.config.skip_connections = {1, 0, 1}, deep.config.hidden_act = "relu", deep.config.qkv_bias = false;
  deep.config.use_conditioning = false, deep.batch = 2;
  MeshCase resnet{.name = "convolutions normalised by the batch", .config = conditioned()};
  resnet.config.residual_model = "resnet";
  MeshCase resampled{.name = "resampled, masked fields, fewer channels out", .config = conditioned()};
  resampled.config.num_channels = 3, resampled.config.learn_residual = true;
  resampled.points = 21, resampled.masked = true, resampled.batch = 3;
  return {shifted, padded, chance, deep, resnet, resampled};
}

std::vector<MeshSizes> meshes_of(int ranks) {
  std::vector<MeshSizes> meshes;
  for (int data = 1; data <= ranks; ++data) {
    for (int domain_y = 1; data * domain_y <= ranks; ++domain_y) {
      for (int domain_x = 1; data * domain_y * domain_x <= ranks; ++domain_x) {
        const int tensor = ranks / (data * domain_y * domain_x);
        if (data * domain_y * domain_x * tensor == ranks) meshes.push_back({data, domain_y, domain_x, tensor});
      }
    }
  }
  return meshes;
}

std::string name_of(const MeshSizes& sizes) { return concat(sizes[0], "x", sizes[1], "x", sizes[2], "x", sizes[3]); }

bool fits(const MeshCase& a_case, const MeshSizes& sizes) {
  const std::int64_t tokens = a_case.config.grid(), window = std::min<std::int64_t>(a_case.config.window_size, tokens);
  return std::max(sizes[1], sizes[2]) <= (tokens + window - 1) / window;
}

Outcome train_steps(const MeshCase& a_case, const Mesh& mesh, const StepsOptions& options) {
  const Model model = describe_model(section(a_case.config), mesh);
  Outcome outcome;
  outcome.parameters = materialize(model, options.dtype, Use::training, RandomKey(13));
  const ParameterList& parameters = outcome.parameters;
  const Loss loss(model->loss(), a_case.config.num_out_channels, LossScope::global, mesh);
  const FlatShares shares(parameters, mesh, options.sharding, options.bucket_bytes);
  GradientReducer reducer(parameters, shares);
  AdamW optimizer(
      parameters, {.max_grad_norm = 1.0}, {0.01}, [](const std::string&) { return 0; }, shares);
  if (options.resume_from) load_checkpoint(*options.resume_from, state_of(parameters, optimizer).pieces);
  for (int step = options.first_step; step < options.steps; ++step) {
    const Fields fields = fields_of(a_case, mesh, model, options.dtype, step);
    Pass pass = pass_of(options.dtype, Mode::train);
    pass.tokens = options.tokens, pass.recompute = options.recompute;
    pass.key = RandomKey(5).fold(static_cast<std::uint64_t>(step));
    pass.first_sample = part_of(a_case.batch, mesh.size(Axis::data), mesh.coordinate(Axis::data)).first;
    parameters.zero_gradients();
    const LossTotals totals = loss.totals({&fields.label, 1});
    const std::int64_t before = mesh.bytes_sent();
    const Tensor share = loss.share(model(fields, model->prepare(), pass), fields.label, totals);
    backward(share, reducer.on_final());
    reducer.finish();
    outcome.step_bytes = mesh.bytes_sent() - before;
    const Tensor norm = global_norm(parameters, shares), sum = from_values<double>({1}, std::vector{to_number(share)});
    mesh.world().all_reduce(sum, ReduceOp::sum);
    outcome.losses.push_back(to_number(sum));
    outcome.norms.push_back(to_number(norm));
    if (step == options.first_step) {
      outcome.first_gradients = empty_like(parameters.gradients());
      copy_into(outcome.first_gradients, parameters.gradients());
    }
    optimizer.update(step + 1, std::array{1e-3}, norm);
  }
  if (options.save_to) {
    save_checkpoint(*options.save_to, options.steps, state_of(parameters, optimizer), mesh);
    save_model(model_in(*options.save_to), model, parameters, mesh);
  }
  return outcome;
}

std::filesystem::path checkpoint_in(const std::filesystem::path& folder, int steps) { return folder / concat("step-0000000", steps); }

std::filesystem::path model_in(const std::filesystem::path& folder) { return folder / "model"; }

}  // namespace trident::testing
