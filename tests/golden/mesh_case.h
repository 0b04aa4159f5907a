/// A recorded case on a mesh: what each rank has of its fields, and what the ranks found, put together on the first.
#pragma once

#include <optional>
#include <vector>

#include "models/field_share.h"
#include "models/model.h"
#include "parallel/gradient_reducer.h"
#include "tests/golden/golden.h"

namespace trident::golden {

/// Throws OnOneRank if the mesh cannot compute a batch of `input`. `config`: for describe_model(); `input`: the whole one.
void require_mesh(const ConfigValue& config, const Tensor& input, const Options& options);

/// Why the mesh cannot share out fields of which no model says how, with at least `points` of them along each axis for a rank.
std::optional<std::string> objection_to_fields(const Tensor& input, std::int64_t points, const Mesh& mesh);

class MeshCase {
 public:
  MeshCase(const Model& model, const Mesh& mesh, const Tensor& input);
  /// Without a model: samples by data and rectangles by domain ranks, and an output of the input's extents.
  MeshCase(const Mesh& mesh, const Tensor& input);

  bool is_first() const { return mesh_.world().rank() == 0; }
  /// This rank's samples, and of fields its rectangle, or its patches; undefined stays undefined.
  Tensor part(const Tensor& whole) const;
  /// What the loss takes: of patches with one point around them.
  Tensor label(const Tensor& whole) const;
  const Mesh& mesh() const { return mesh_; }
  /// The batch that the parts make.
  Fields fields(const Tensor& input, const Tensor& time, const Tensor& pixel_mask, const Tensor& label) const;
  std::int64_t first_sample() const { return share_.units ? 0 : share_.pieces.front().samples.first; }
  /// The patches of this rank; all if it has whole fields.
  const std::optional<PatchUnits>& units() const { return share_.units; }
  /// How many points the fields of the whole output have together.
  double output_points() const;
  /// On the first rank, else undefined. Collective, as the next.
  Tensor whole_input(const Tensor& part) const;
  Tensor whole_output(const Tensor& part) const;
  /// Of a tensor that the tensor axis holds in summands: the gradient of an input.
  Tensor whole_input_gradient(const Tensor& part) const;
  Tensor whole_gradient(const NamedPiece& piece) const;

 private:
  /// The share of fields with so many points.
  FieldShare share_of_points(const std::vector<std::int64_t>& extents) const;
  Tensor gathered(const Tensor& part, const std::vector<std::int64_t>& extents) const;

  Model model_;  // may be undefined
  Mesh mesh_;
  std::int64_t samples_;
  std::vector<std::int64_t> extents_, output_extents_;  // per space axis
  FieldShare share_;
};

/// The rows `own` of a tensor whose rows the ranks of data and domain share -> all `count` rows, on every rank. Collective over these axes.
Tensor all_rows(const Tensor& part, Range own, std::int64_t count, const Mesh& mesh);
/// Each domain rank's part of a tensor (..., y, x), put together on every rank. Collective.
Tensor all_points(const Tensor& part, const Rectangle& own, const Shape& whole, const Mesh& mesh);
/// The backward of a loss share, whose gradients are summed over the ranks.
void reduced_backward(const Tensor& share, const ParameterList& parameters, const Mesh& mesh);
/// The sum of all ranks' numbers.
double summed(double value, const Mesh& mesh);

}  // namespace trident::golden
