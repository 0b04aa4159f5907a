/// Normalisation inside Fourier blocks, channels before space. Names of neuraloperator.
#pragma once

#include <array>
#include <utility>
#include <variant>

#include "models/layers/channel_mlp.h"
#include "models/layers/field_place.h"
#include "models/layers/residual_conv.h"

namespace trident {

/// ada_in: instance normalisation whose scale and shift are computed from the lead time.
enum class BlockNormKind { instance_norm, group_norm, batch_norm, ada_in };
inline auto config_names(BlockNormKind) {
  using enum BlockNormKind;
  return std::array{std::pair{instance_norm, "instance_norm"}, std::pair{group_norm, "group_norm"}, std::pair{batch_norm, "batch_norm"},
                    std::pair{ada_in, "ada_in"}};
}

class BlockNorm {
 public:
  /// `groups`: of group_norm.
  BlockNorm(BlockNormKind kind, std::int64_t channels, std::int64_t groups, const Mesh& mesh);

  /// x: (batch, channel, space...), or this rank's part of it, which is normalised by the statistics of the whole; time: (batch,), read by
  /// ada_in only.
  Tensor operator()(const Tensor& x, const FieldPlace& place, const Tensor& time, Mode mode) const;

  static void visit(auto& self, auto& v) {
    std::visit([&](auto& norm) { v("", norm); }, self.norm_);
  }

 private:
  struct Instance {
    static void visit(auto&, auto&) {}
  };
  struct Group {
    Parameter weight, bias;  // (channels,)
    std::int64_t groups;
    static void visit(auto& self, auto& v) { v("weight", self.weight), v("bias", self.bias); }
  };
  struct Batch {
    BatchNorm norm;
    static void visit(auto& self, auto& v) { v("norm", self.norm); }
  };
  struct Affine {
    Parameter weight, bias;  // (out, in), (out,)
    Affine(std::int64_t in, std::int64_t out);
    static void visit(auto& self, auto& v) { v("weight", self.weight), v("bias", self.bias); }
  };
  struct Adaptive {
    Affine up, down;  // time -> hidden -> scales and shifts
    static void visit(auto& self, auto& v) { v("mlp.0", self.up), v("mlp.2", self.down); }
  };

  static std::variant<Instance, Group, Batch, Adaptive> make(BlockNormKind kind, std::int64_t channels, std::int64_t groups,
                                                             const Mesh& mesh);
  std::variant<Instance, Group, Batch, Adaptive> norm_;
};

}  // namespace trident
