#include "tests/golden/mesh_case.h"

#include "checkpoint/gathered_tensor.h"
#include "launch/mesh_choice.h"
#include "parallel/collectives.h"
#include "runtime/autograd/tape.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"

namespace trident::golden {

std::optional<Row> left_out(const ConfigValue& config, const Tensor& input, Folder& folder, const Options& options) {
  const Mesh& mesh = options.mesh;
  const std::int64_t ny = input.rank() > 3 ? input.size(-2) : 1, nx = input.size(-1);
  const MeshSizes sizes{mesh.size(Axis::data), mesh.size(Axis::domain_y), mesh.size(Axis::domain_x), mesh.size(Axis::tensor)};
  const auto objection = objection_to(sizes, mesh.world().size(), {.models = {config}, .batch = input.size(0), .points = {ny, nx}});
  if (mesh.world().size() == 1 || !objection) return std::nullopt;
  for (const std::string& name : folder.names_with("")) folder.take(name);
  return Row{"everything", 0.0, 0.0, concat("left out: ", *objection)};
}

MeshCase::MeshCase(const Model& model, const Mesh& mesh, const Tensor& input)
    : model_(model), mesh_(mesh), samples_(input.size(0)), extents_(input.shape().begin() + 2, input.shape().end()) {
  share_ = share_of(model, mesh, samples_, extents_.size() > 1 ? extents_[extents_.size() - 2] : 1, extents_.back());
}

Tensor MeshCase::part(const Tensor& whole) const {
  if (!whole.defined()) return {};
  const auto& [samples, rectangle] = share_.pieces.front();
  Tensor part = view::slice(whole, 0, samples.first, samples.last);
  const int rank = part.rank();
  if (rank != model_->num_dims() + 2) return packed(part);
  part = view::slice(part, rank - 1, rectangle.columns.first, rectangle.columns.last);
  if (model_->num_dims() > 1) part = view::slice(part, rank - 2, rectangle.rows.first, rectangle.rows.last);
  return packed(part);
}

Fields MeshCase::fields(const Tensor& input, const Tensor& time, const Tensor& pixel_mask, const Tensor& label) const {
  return {.input = input, .time = time, .pixel_mask = pixel_mask, .label = label, .ny = share_.ny, .nx = share_.nx};
}

Tensor MeshCase::gathered(const Tensor& part, const std::vector<std::int64_t>& extents) const {
  const std::int64_t ny = extents.size() > 1 ? extents[extents.size() - 2] : 1;
  const FieldShare share = share_of(model_, mesh_, samples_, ny, extents.back());
  return FieldSharing(mesh_, share.pieces, samples_, ny, extents.back(), model_->num_dims()).gather(part, agree_with_nobody());
}

Tensor MeshCase::whole_input(const Tensor& part) const { return gathered(part, extents_); }
Tensor MeshCase::whole_output(const Tensor& part) const { return gathered(part, model_->output_extents(extents_)); }

Tensor MeshCase::whole_input_gradient(const Tensor& part) const {
  const Tensor sum = packed(part);
  sum_in_place(mesh_, Axis::tensor, sum);
  return whole_input(sum);
}

Tensor MeshCase::whole_gradient(const NamedPiece& piece) const {
  NamedPiece gradient = piece;
  gradient.value = piece.gradient;
  return gathered_tensor(gradient, mesh_);
}

void reduced_backward(const Tensor& share, const ParameterList& parameters, const Mesh& mesh) {
  const FlatShares shares(parameters, mesh);
  GradientReducer reducer(parameters, shares);
  backward(share, reducer.on_final());
  reducer.finish();
}

double summed(double value, const Mesh& mesh) {
  const Tensor sum = from_values<double>({1}, std::vector{value});
  mesh.stream().synchronize();
  mesh.world().all_reduce(sum, ReduceOp::sum);
  return to_number(sum);
}

}  // namespace trident::golden
