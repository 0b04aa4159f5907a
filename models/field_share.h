/// What each rank of a mesh holds of the fields that all compute together.
#pragma once

#include <optional>

#include "models/model.h"
#include "parallel/field_sharing.h"
#include "parallel/mesh.h"

namespace trident {

struct FieldShare {
  FieldPieces pieces;               // this rank's
  std::optional<PatchUnits> units;  // which patches they are, where ranks share patches
  std::int64_t ny = 0, nx = 0;      // points of whole fields
};

/// Of `samples` fields: samples by the data axis and rectangles by the domain axes; of a model of patches units by all of these.
FieldShare share_of(const Model& model, const Mesh& mesh, std::int64_t samples, std::int64_t ny, std::int64_t nx);
/// What is given for each sample (time, masks), for each row of the pieces; undefined as it is.
Tensor rows_for(const FieldShare& share, const Tensor& of_samples);

}  // namespace trident
