#include "models/mesh_prediction.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "parallel/field_sharing.h"
#include "parallel/messages.h"
#include "runtime/config.h"
#include "runtime/error.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"

namespace trident {

/// What all ranks must know of a request before its fields are handed out.
struct MeshPredictor::Header {
  std::vector<std::int64_t> input, time, mask;  // shapes; empty where there is none
  int input_dtype = 0, time_dtype = 0;
  std::optional<std::int64_t> steps;
  std::string problem;
  static void visit(auto& self, auto& v) {
    v("input", self.input), v("time", self.time), v("mask", self.mask), v("input_dtype", self.input_dtype);
    v("time_dtype", self.time_dtype), v("steps", self.steps), v("problem", self.problem);
  }

  static std::vector<std::int64_t> extents_of(const Tensor& x) {
    return x.defined() ? std::vector(x.shape().begin(), x.shape().end()) : std::vector<std::int64_t>{};
  }
};

namespace {

/// Rank 0's tensor on all ranks; undefined if it has no shape.
Tensor broadcast_from_first(Communicator& world, const Tensor& x, const std::vector<std::int64_t>& shape, DType dtype) {
  if (shape.empty()) return {};
  const Tensor all = empty(Shape(shape), dtype);
  if (world.rank() == 0) copy_into(all, x);
  world.broadcast(all, 0);
  return all;
}

Tensor rows_of(const Tensor& x, Range samples) { return x.defined() ? view::slice(x, 0, samples.first, samples.last) : x; }

bool has_pairs(const Model& model, const Tensor& input) { return model->is_complex() && !is_complex(input.dtype()); }

}  // namespace

MeshPredictor::MeshPredictor(Model model, const Mesh& mesh, FindProblem find_problem, DType precision)
    : model_(std::move(model)), prepared_(model_->prepare()), mesh_(mesh), find_problem_(std::move(find_problem)), precision_(precision) {}

Tensor MeshPredictor::lead(const PredictionRequest& request) const {
  const std::optional<Problem> problem = problem_of(request);
  if (mesh_.world().size() == 1) return predict(model_, prepared_, request, problem ? &*problem : nullptr, precision_);
  const Shape shape = answer_shape(model_, request);  // refused before the others hear of it
  PredictionRequest sent = request;
  if (has_pairs(model_, request.input)) sent.input = view::as_complex(packed(request.input));
  const Header header{.input = Header::extents_of(sent.input),
                      .time = Header::extents_of(sent.time),
                      .mask = Header::extents_of(sent.pixel_mask),
                      .input_dtype = static_cast<int>(sent.input.dtype()),
                      .time_dtype = sent.time.defined() ? static_cast<int>(sent.time.dtype()) : 0,
                      .steps = sent.steps,
                      .problem = sent.problem};
  broadcast_text(mesh_.world(), to_json(write_config(header), 0), 0);
  const Tensor answer = compute(header, sent);
  return view::reshape(has_pairs(model_, request.input) ? view::as_real(answer) : answer, shape);
}

void MeshPredictor::follow() const {
  const auto header = read_config<Header>(parse_json(broadcast_text(mesh_.world(), "", 0), "request"));
  try {
    compute(header, {});
  } catch (const CommunicationError&) {
    throw;
  } catch (const Error&) {  // all ranks have refused the request together; rank 0 says why
  }
}

Tensor MeshPredictor::compute(const Header& header, const PredictionRequest& request) const {
  Communicator& world = mesh_.world();
  const auto dtype = static_cast<DType>(header.input_dtype);
  const int space = model_->num_dims();
  const std::int64_t ny = space > 1 ? header.input.end()[-2] : 1, nx = header.input.back();
  const std::int64_t samples = header.input.front();
  const FieldSharing inputs(mesh_, samples, model_->rectangle(ny, nx), ny, nx, space);
  Shape between;
  for (auto extent = header.input.begin() + 1; extent != header.input.end() - std::min(space, 2); ++extent) between.push_back(*extent);
  PredictionRequest part;
  part.input = inputs.scatter(request.input, between, dtype);
  part.time = rows_of(broadcast_from_first(world, request.time, header.time, static_cast<DType>(header.time_dtype)), inputs.samples());
  part.pixel_mask = rows_of(broadcast_from_first(world, request.pixel_mask, header.mask, DType::boolean), inputs.samples());
  part.steps = header.steps;
  part.problem = header.problem;
  part.between_steps = request.between_steps;
  const std::optional<Problem> problem = problem_of(part);
  const Tensor answer = predict_part(model_, prepared_, part, problem ? &*problem : nullptr, precision_, [this](bool here) {
    mesh_.stream().synchronize();
    return any_of(mesh_.world(), here);
  });
  const std::vector<std::int64_t> extents = model_->output_extents({header.input.end() - space, header.input.end()});
  const std::int64_t rows = space > 1 ? extents[extents.size() - 2] : 1, columns = extents.back();
  return FieldSharing(mesh_, samples, model_->rectangle(rows, columns), rows, columns, space).gather(answer);
}

std::optional<Problem> MeshPredictor::problem_of(const PredictionRequest& request) const {
  return request.problem.empty() ? std::nullopt : std::optional(find_problem_(request.problem));
}

}  // namespace trident
