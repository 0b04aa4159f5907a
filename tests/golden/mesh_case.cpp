#include "tests/golden/mesh_case.h"

#include "checkpoint/gathered_tensor.h"
#include "launch/mesh_choice.h"
#include "parallel/collectives.h"
#include "parallel/domain.h"
#include "runtime/autograd/tape.h"
#include "runtime/error.h"
#include "runtime/ops/shape.h"
#include "runtime/ops/windows.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"

namespace trident::golden {

namespace {

constexpr AxisSet kBatchAxes = (Axis::data | Axis::domain_y) | Axis::domain_x;
constexpr AxisSet kDomainAxes = Axis::domain_y | Axis::domain_x;

std::vector<std::int64_t> extents_of(const Tensor& field) { return {field.shape().begin() + 2, field.shape().end()}; }
std::int64_t rows_in(const std::vector<std::int64_t>& extents) { return extents.size() > 1 ? extents[extents.size() - 2] : 1; }

/// This piece of (sample, ..., y, x).
Tensor piece_of(const Tensor& whole, const FieldPiece& piece, bool is_field) {
  Tensor part = view::slice(whole, 0, piece.samples.first, piece.samples.last);
  if (!is_field) return part;
  const int rank = part.rank();
  part = view::slice(part, rank - 1, piece.rectangle.columns.first, piece.rectangle.columns.last);
  return rank < 4 ? part : view::slice(part, rank - 2, piece.rectangle.rows.first, piece.rectangle.rows.last);
}

}  // namespace

void require_mesh(const ConfigValue& config, const Tensor& input, const Options& options) {
  const Mesh& mesh = options.mesh;
  if (mesh.world().size() == 1) return;
  const MeshSizes sizes{mesh.size(Axis::data), mesh.size(Axis::domain_y), mesh.size(Axis::domain_x), mesh.size(Axis::tensor)};
  const MeshLoad load{.models = {config}, .batch = input.size(0), .points = {rows_in(extents_of(input)), input.size(-1)}};
  if (const auto objection = objection_to(sizes, mesh.world().size(), load)) throw OnOneRank{*objection};
}

std::optional<std::string> objection_to_fields(const Tensor& input, std::int64_t points, const Mesh& mesh) {
  const std::vector<std::int64_t> extents = extents_of(input);
  const auto scarce = [&](std::int64_t count, Axis axis) { return mesh.size(axis) > 1 && count < mesh.size(axis) * points; };
  if (input.size(0) < mesh.size(Axis::data))
    return concat("there are ", input.size(0), " samples for ", mesh.size(Axis::data), " data ranks");
  if (extents.size() == 1 && mesh.size(Axis::domain_y) > 1) return "fields of one dimension have no rows for ranks of domain_y";
  if (scarce(rows_in(extents), Axis::domain_y) || scarce(extents.back(), Axis::domain_x)) {
    return concat("fields of ", rows_in(extents), "x", extents.back(), " points are too small for the domain ranks");
  }
  return std::nullopt;
}

MeshCase::MeshCase(const Model& model, const Mesh& mesh, const Tensor& input)
    : model_(model), mesh_(mesh), samples_(input.size(0)), extents_(extents_of(input)), output_extents_(model->output_extents(extents_)) {
  share_ = share_of_points(extents_);
}

MeshCase::MeshCase(const Mesh& mesh, const Tensor& input)
    : mesh_(mesh), samples_(input.size(0)), extents_(extents_of(input)), output_extents_(extents_) {
  share_ = share_of_points(extents_);
}

FieldShare MeshCase::share_of_points(const std::vector<std::int64_t>& extents) const {
  const std::int64_t ny = rows_in(extents), nx = extents.back();
  if (model_.defined()) return share_of(model_, mesh_, samples_, ny, nx);
  const Range samples = part_of(samples_, mesh_.size(Axis::data), mesh_.coordinate(Axis::data));
  return {.pieces = {{.samples = samples, .rectangle = Domain(mesh_).rectangle(ny, nx)}}, .units = {}, .ny = ny, .nx = nx};
}

Tensor MeshCase::part(const Tensor& whole) const {
  if (!whole.defined()) return {};
  const bool is_field = whole.rank() == static_cast<int>(extents_.size()) + 2;
  std::vector<Tensor> parts;
  for (const FieldPiece& piece : (is_field ? share_of_points(extents_of(whole)) : share_).pieces)
    parts.push_back(piece_of(whole, piece, is_field));
  return parts.size() == 1 ? packed(parts.front()) : concatenate(parts, 0);
}

Tensor MeshCase::label(const Tensor& whole) const {
  if (!share_.units) return part(whole);
  return gather_windows(whole, patch_windows(PatchGrid(*model_->patching(), share_.ny, share_.nx), share_.units->units, 1));
}

double MeshCase::output_points() const {
  double points = static_cast<double>(samples_);
  for (const std::int64_t extent : output_extents_) points *= static_cast<double>(extent);
  return points;
}

Fields MeshCase::fields(const Tensor& input, const Tensor& time, const Tensor& pixel_mask, const Tensor& label) const {
  return {
      .input = input, .time = time, .pixel_mask = pixel_mask, .label = label, .ny = share_.ny, .nx = share_.nx, .patches = share_.units};
}

Tensor MeshCase::gathered(const Tensor& part, const std::vector<std::int64_t>& extents) const {
  const FieldShare share = share_of_points(extents);
  return FieldSharing(mesh_, share.pieces, samples_, share.ny, share.nx, static_cast<int>(extents.size()))
      .gather(part, agree_with_nobody());
}

Tensor MeshCase::whole_input(const Tensor& part) const { return gathered(part, extents_); }
Tensor MeshCase::whole_output(const Tensor& part) const { return gathered(part, output_extents_); }

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

Tensor all_rows(const Tensor& part, Range own, std::int64_t count, const Mesh& mesh) {
  Shape shape = part.shape();
  shape[0] = count;
  const Tensor whole = zeros(shape, part.dtype(), part.device());
  copy_into(view::slice(whole, 0, own.first, own.last), part);
  sum_in_place(mesh, kBatchAxes, whole);
  return whole;
}

Tensor all_points(const Tensor& part, const Rectangle& own, const Shape& shape, const Mesh& mesh) {
  const Tensor whole = zeros(shape, part.dtype());
  const int rank = whole.rank();
  copy_into(view::slice(view::slice(whole, rank - 1, own.columns.first, own.columns.last), rank - 2, own.rows.first, own.rows.last), part);
  sum_in_place(mesh, kDomainAxes, whole);
  return whole;
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
