#include "models/mesh_prediction.h"

#include <algorithm>
#include <exception>
#include <utility>
#include <vector>

#include "models/captured_model.h"
#include "parallel/field_sharing.h"
#include "parallel/messages.h"
#include "runtime/activity.h"
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
Tensor broadcast_from_first(Communicator& world, const Tensor& x, const std::vector<std::int64_t>& shape, DType dtype, const Agree& agree) {
  if (shape.empty()) return {};
  const Tensor all = run_agreed(agree, [&] {
    const Tensor room = empty(Shape(shape), dtype);
    if (world.rank() == 0) copy_into(room, x);
    return room;
  });
  world.broadcast(all, 0);
  return all;
}

bool has_pairs(const Model& model, const Tensor& input) { return model->is_complex() && !is_complex(input.dtype()); }

/// Points per space axis.
std::vector<std::int64_t> space_of(const Model& model, const Shape& input) {
  return {input.begin() + 2, input.begin() + 2 + model->num_dims()};
}

}  // namespace

MeshPredictor::MeshPredictor(const Model& model, const Mesh& mesh, FindProblem find_problem, const Computing& computing)
    : model_(captured(model, mesh, computing.device)),
      prepared_(model_->prepare()),
      mesh_(mesh),
      find_problem_(std::move(find_problem)),
      computing_(computing) {
  constexpr double kGiveUpSeconds = 8.0;
  giving_up_ = mesh_.world().duplicate();
  giving_up_->set_timeout(kGiveUpSeconds);
}

Tensor MeshPredictor::with_agreement(const std::function<Tensor(const Agree&)>& work) const {
  bool agreed = false;
  const Agree agree = [&](const std::exception_ptr& here) {
    mesh_.stream().synchronize();
    agreed = true;  // unless it returns
    agree_on_failure(mesh_.world(), here);
    agreed = false;
  };
  try {
    return work(agree);
  } catch (const std::exception& error) {
    if (agreed || mesh_.world().size() == 1) throw;
    // Amid the model's exchanges. What the request asks for all ranks refuse at the same place, and meet here; where one has failed alone
    // the others wait in an exchange, and the deadline ends the job with its name.
    const Activity doing(interned(concat("giving a request up: ", error.what())));
    mesh_.stream().synchronize();
    agree_on_failure(*giving_up_, std::current_exception());
    throw;
  }
}

Tensor MeshPredictor::lead(const PredictionRequest& request) const {
  Communicator& world = mesh_.world();
  Header header;
  PredictionRequest sent = request;
  Shape shape;
  try {
    const std::optional<Problem> problem = problem_of(request);
    if (world.size() == 1) return predict(model_, prepared_, request, problem ? &*problem : nullptr, computing_);
    shape = answer_shape(model_, request);
    check_request(model_, request, problem ? &*problem : nullptr);
    if (has_pairs(model_, request.input)) sent.input = view::as_complex(packed(request.input));
    header = {.input = Header::extents_of(sent.input),
              .time = Header::extents_of(sent.time),
              .mask = Header::extents_of(sent.pixel_mask),
              .input_dtype = static_cast<int>(sent.input.dtype()),
              .time_dtype = sent.time.defined() ? static_cast<int>(sent.time.dtype()) : 0,
              .steps = sent.steps,
              .problem = sent.problem};
  } catch (...) {
    if (world.size() > 1) broadcast_text(world, "", 0);  // the others wait for a header: there will be none
    throw;
  }
  broadcast_text(world, to_json(write_config(header), 0), 0);
  const Tensor answer = with_agreement([&](const Agree& agree) { return compute(header, sent, agree); });
  return view::reshape(has_pairs(model_, request.input) ? view::as_real(answer) : answer, shape);
}

void MeshPredictor::follow() const {
  const std::string text = broadcast_text(mesh_.world(), "", 0);
  if (text.empty()) return;
  const auto header = read_config<Header>(parse_json(text, "request"));
  try {
    with_agreement([&](const Agree& agree) { return compute(header, {}, agree); });
  } catch (const CommunicationError&) {
    throw;
  } catch (const std::exception&) {  // all ranks have given the request up together; rank 0 says why
  }
}

Tensor MeshPredictor::compute(const Header& header, const PredictionRequest& request, const Agree& agree) const {
  Communicator& world = mesh_.world();
  const auto dtype = static_cast<DType>(header.input_dtype);
  const std::vector<std::int64_t> extents = space_of(model_, Shape(header.input));
  const std::int64_t samples = header.input.front();
  const int space = model_->num_dims();
  const FieldShare share = share_of_extents(samples, extents);
  const FieldSharing inputs(mesh_, share.pieces, samples, share.ny, share.nx, space);
  Shape between;
  for (auto extent = header.input.begin() + 1; extent != header.input.end() - std::min(space, 2); ++extent) between.push_back(*extent);
  PredictionRequest part;
  part.input = inputs.scatter(request.input, between, dtype, agree);
  const Tensor time = broadcast_from_first(world, request.time, header.time, static_cast<DType>(header.time_dtype), agree);
  const Tensor mask = broadcast_from_first(world, request.pixel_mask, header.mask, DType::boolean, agree);
  part.time = rows_for(share, time);
  part.pixel_mask = rows_for(share, mask);
  part.steps = header.steps;
  part.problem = header.problem;
  part.between_steps = request.between_steps;
  const Tensor answer = answer_of(std::move(part), share, agree);
  const FieldShare answered = share_of_extents(samples, model_->output_extents(extents));
  return FieldSharing(mesh_, answered.pieces, samples, answered.ny, answered.nx, space).gather(answer, agree);
}

Tensor MeshPredictor::answer_of(PredictionRequest part, const FieldShare& share, const Agree& agree) const {
  const std::optional<Problem> problem = problem_of(part);
  return predict_part(model_, prepared_, part, share, problem ? &*problem : nullptr, computing_, agree);
}

FieldShare MeshPredictor::input_share(const PredictionRequest& request) const {
  answer_shape(model_, request);
  return share_of_extents(request.input.size(0), space_of(model_, request.input.shape()));
}

FieldShare MeshPredictor::output_share(const PredictionRequest& request) const {
  return share_of_extents(request.input.size(0), model_->output_extents(space_of(model_, request.input.shape())));
}

Tensor MeshPredictor::answer_part(const PredictionRequest& request, const Tensor& part) const {
  const std::optional<Problem> problem = problem_of(request);
  check_request(model_, request, problem ? &*problem : nullptr);
  const FieldShare share = input_share(request);
  const bool pairs = has_pairs(model_, part);
  PredictionRequest own = request;
  own.input = pairs ? view::as_complex(packed(part)) : part;
  own.time = rows_for(share, request.time);
  own.pixel_mask = rows_for(share, request.pixel_mask);
  const Tensor answer = with_agreement([&](const Agree& agree) { return answer_of(std::move(own), share, agree); });
  return pairs ? view::as_real(answer) : answer;
}

FieldShare MeshPredictor::share_of_extents(std::int64_t samples, const std::vector<std::int64_t>& extents) const {
  return share_of(model_, mesh_, samples, extents.size() > 1 ? extents[extents.size() - 2] : 1, extents.back());
}

std::optional<Problem> MeshPredictor::problem_of(const PredictionRequest& request) const {
  return request.problem.empty() ? std::nullopt : std::optional(find_problem_(request.problem));
}

}  // namespace trident
