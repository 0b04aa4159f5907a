/// Between fields and tokens, and between grids of tokens. Fields are (batch, channel, y, x), tokens (batch, y, x, width).
#pragma once

#include "models/layers/linear.h"
#include "models/layers/norm.h"

namespace trident {

/// Fields -> tokens: a convolution with kernel = stride = patch.
struct PatchEmbedding {
  std::int64_t patch;  // points per side
  Parameter weight;    // (width, channels, patch, patch)
  Parameter bias;      // (width,)

  PatchEmbedding(std::int64_t channels, std::int64_t width, std::int64_t patch, double deviation);
  Tensor operator()(const Tensor& fields) const;

  static void visit(auto& self, auto& v) { v("projection.weight", self.weight), v("projection.bias", self.bias); }
};

/// Tokens -> fields: a transposed convolution with kernel = stride = patch, then a 5x5 convolution.
struct PatchRecovery {
  std::int64_t patch;
  Parameter weight;  // (width, channels, patch, patch)
  Parameter bias;    // (channels,)
  Parameter mixup;   // (channels, channels, 5, 5)

  PatchRecovery(std::int64_t width, std::int64_t channels, std::int64_t patch, double deviation);
  Tensor operator()(const Tensor& tokens) const;

  static void visit(auto& self, auto& v) {
    v("projection.weight", self.weight), v("projection.bias", self.bias), v("mixup.weight", self.mixup);
  }
};

/// Four tokens -> one of twice their width.
struct PatchMerging {
  Linear reduction;  // (4 width -> 2 width)
  Norm norm;

  PatchMerging(std::int64_t width, Conditioning conditioning, double deviation);
  Tensor operator()(const Tensor& tokens, const Tensor& time) const;

  static void visit(auto& self, auto& v) { v("reduction", self.reduction), v("norm", self.norm); }
};

/// One token -> four of half its width.
struct PatchUnmerging {
  Linear upsample;  // (width -> 2 width)
  Linear mixup;     // (width / 2 -> width / 2)
  Norm norm;

  PatchUnmerging(std::int64_t width, Conditioning conditioning, double deviation);
  /// Crops to (rows, columns): an odd grid's last cells lie half outside.
  Tensor operator()(const Tensor& tokens, const Tensor& time, std::int64_t rows, std::int64_t columns) const;

  static void visit(auto& self, auto& v) { v("upsample", self.upsample), v("mixup", self.mixup), v("norm", self.norm); }
};

}  // namespace trident
