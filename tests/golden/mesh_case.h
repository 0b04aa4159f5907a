/// A recorded case on a mesh: what each rank has of its fields, and what the ranks found, put together on the first.
#pragma once

#include <optional>

#include "models/field_share.h"
#include "models/model.h"
#include "parallel/gradient_reducer.h"
#include "tests/golden/golden.h"

namespace trident::golden {

/// A row that says why this mesh cannot compute the case, all of whose tensors then count as used; nothing if it can. `config`: for
/// describe_model(); `input`: the whole one.
std::optional<Row> left_out(const ConfigValue& config, const Tensor& input, Folder& folder, const Options& options);

class MeshCase {
 public:
  MeshCase(const Model& model, const Mesh& mesh, const Tensor& input);

  bool is_first() const { return mesh_.world().rank() == 0; }
  /// This rank's samples, and of fields its rectangle; undefined stays undefined.
  Tensor part(const Tensor& whole) const;
  /// The batch that the parts make.
  Fields fields(const Tensor& input, const Tensor& time, const Tensor& pixel_mask, const Tensor& label) const;
  std::int64_t first_sample() const { return share_.pieces.front().samples.first; }
  /// On the first rank, else undefined. Collective, as the next.
  Tensor whole_input(const Tensor& part) const;
  Tensor whole_output(const Tensor& part) const;
  /// Of a tensor that the tensor axis holds in summands: the gradient of an input.
  Tensor whole_input_gradient(const Tensor& part) const;
  Tensor whole_gradient(const NamedPiece& piece) const;

 private:
  Tensor gathered(const Tensor& part, const std::vector<std::int64_t>& extents) const;

  Model model_;
  Mesh mesh_;
  std::int64_t samples_;
  std::vector<std::int64_t> extents_;  // per space axis
  FieldShare share_;
};

/// The backward of a loss share, whose gradients are summed over the ranks.
void reduced_backward(const Tensor& share, const ParameterList& parameters, const Mesh& mesh);
/// The sum of all ranks' numbers.
double summed(double value, const Mesh& mesh);

}  // namespace trident::golden
