/// Between fields and tokens, and between grids of tokens. Fields are (batch, channel, y, x), tokens (batch, y, x, width); of both a rank
/// holds what it owns.
#pragma once

#include "models/layers/linear.h"
#include "models/layers/norm.h"
#include "parallel/domain.h"

namespace trident {

/// Fields -> tokens: a convolution with kernel = stride = patch.
struct PatchEmbedding {
  std::int64_t patch;  // points per side
  Parameter weight;    // (width, channels, patch, patch)
  Parameter bias;      // (width,)

  PatchEmbedding(std::int64_t channels, std::int64_t width, std::int64_t patch, double deviation);
  /// `precision`: of the model, which takes the tokens in the fields' own type nevertheless.
  Tensor operator()(const Tensor& fields, DType precision) const;

  static void visit(auto& self, auto& v) { v("projection.weight", self.weight), v("projection.bias", self.bias); }
};

/// Tokens -> fields: a transposed convolution with kernel = stride = patch, then a 5x5 convolution.
struct PatchRecovery {
  Domain domain;
  std::int64_t patch;
  Parameter weight;  // (width, channels, patch, patch)
  Parameter bias;    // (channels,)
  Parameter mixup;   // (channels, channels, 5, 5)

  PatchRecovery(std::int64_t width, std::int64_t channels, std::int64_t patch, double deviation, const Domain& domain);
  /// tokens: this rank's of the level.
  Tensor operator()(const Tensor& tokens, const WindowLevel& level) const;

  static void visit(auto& self, auto& v) {
    v("projection.weight", self.weight), v("projection.bias", self.bias), v("mixup.weight", self.mixup);
  }
};

/// Four tokens -> one of twice their width.
struct PatchMerging {
  Mesh mesh;
  Linear reduction;  // (4 width -> 2 width)
  Norm norm;

  PatchMerging(std::int64_t width, Conditioning conditioning, double deviation, const Mesh& mesh);
  /// From this rank's tokens of one level, whose samples have `time`, to its tokens of the level `below`.
  Tensor operator()(const Tensor& tokens, const WindowLevel& level, const WindowLevel& below, const Tensor& time) const;

  static void visit(auto& self, auto& v) { v("reduction", self.reduction), v("norm", self.norm); }
};

/// One token -> four of half its width.
struct PatchUnmerging {
  Mesh mesh;
  Linear upsample;  // (width -> 2 width)
  Linear mixup;     // (width / 2 -> width / 2)
  Norm norm;

  PatchUnmerging(std::int64_t width, Conditioning conditioning, double deviation, const Mesh& mesh);
  /// From this rank's tokens of one level to its tokens of the level `above`, whose samples have `time`. An odd grid's last cells lie half
  /// outside and are cropped.
  Tensor operator()(const Tensor& tokens, const WindowLevel& level, const WindowLevel& above, const Tensor& time) const;

  static void visit(auto& self, auto& v) { v("upsample", self.upsample), v("mixup", self.mixup), v("norm", self.norm); }
};

}  // namespace trident
