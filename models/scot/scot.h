/// scOT, the operator transformer of Poseidon (Herde et al. 2024): a Swin v2 encoder and decoder with convolutional skip connections,
/// conditioned on lead time. Names, shapes and arithmetic are the reference's.
#pragma once

#include <map>
#include <optional>
#include <vector>

#include "models/layers/mlp.h"
#include "models/layers/norm.h"
#include "models/layers/patches.h"
#include "models/layers/residual_conv.h"
#include "models/layers/token_stream.h"
#include "models/layers/window_attention.h"
#include "models/model.h"
#include "models/scot/scot_config.h"

namespace trident {

/// One level of a call: what this rank owns of its tokens, and of their samples the times, and the pass that knows the first of them.
struct ScotLevel {
  std::shared_ptr<const WindowLevel> tokens;
  Tensor time;
  Pass pass;
};

/// One transformer block: attention and MLP, each normalised before it is added.
struct ScotBlock {
  WindowAttention attention;
  Norm norm_before;
  Mlp mlp;
  Norm norm_after;
  double drop_path, attention_dropout, hidden_dropout;
  std::size_t number;  // among all blocks, in the order of prepare(); also names its random numbers

  /// From and to what this rank keeps of its tokens. `whole`: all of them, if they are at hand.
  CarriedSum operator()(const CarriedSum& kept, const Tensor& whole, const TokenStream& stream, const ScotLevel& level,
                        const Tensor& position_bias) const;

  static void visit(auto& self, auto& v) {
    v("attention", self.attention), v("layernorm_before", self.norm_before), v("", self.mlp), v("layernorm_after", self.norm_after);
  }
};

struct EncoderLevel {
  std::vector<ScotBlock> blocks;
  std::optional<PatchMerging> downsample;

  static void visit(auto& self, auto& v) {
    v("blocks", self.blocks);
    if (self.downsample) v("downsample", *self.downsample);
  }
};

struct DecoderLevel {
  std::vector<ScotBlock> blocks;
  std::optional<PatchUnmerging> upsample;

  static void visit(auto& self, auto& v) {
    v("blocks", self.blocks);
    if (self.upsample) v("upsample", *self.upsample);
  }
};

struct ScotEmbeddings {
  std::optional<Parameter> position;  // (1, tokens, width)
  PatchEmbedding patches;
  Norm norm;

  static void visit(auto& self, auto& v) {
    if (self.position) v("position_embeddings", *self.position);
    v("patch_embeddings", self.patches), v("norm", self.norm);
  }
};

class Scot final : public ModelInterface {
 public:
  /// `document`: what the configuration was read from, kept for config().
  Scot(ScotConfig config, ConfigValue document, const Mesh& mesh);

  void visit(const ParameterVisitor& visitor) override;
  /// Position biases, by the blocks' numbers. While the tape records, all ranks share the work: collective.
  Prepared prepare() const override;
  Tensor call(const Fields& fields, const Prepared& prepared, const Pass& pass, std::vector<Tensor>* hidden) const override;
  ConfigValue config() const override { return hugging_face_config(config_, document_); }
  std::string type() const override { return "scot"; }
  int num_channels() const override { return config_.num_channels; }
  int num_out_channels() const override { return config_.num_out_channels; }
  int num_dims() const override { return 2; }
  /// Of a field of the model's own size whole windows of tokens; of others, which are resampled, even parts.
  Rectangle rectangle(std::int64_t ny, std::int64_t nx) const override;
  std::vector<std::int64_t> output_extents(const std::vector<std::int64_t>& extents) const override;
  bool uses_time() const override { return config_.use_conditioning; }
  LossDescription loss() const override;
  double forward_flops(std::int64_t batch, const std::vector<std::int64_t>& extents) const override;

  static void visit(auto& self, auto& v) {
    v("embeddings", self.embeddings_), v("encoder.layers", self.encoder_), v("decoder.layers", self.decoder_);
    v("patch_recovery", self.recovery_), v("residual_blocks", self.residual_blocks_);
  }

 private:
  /// Points per side of the whole field, of which this rank holds its part. Throws ShapeError for fields that are not the model's.
  std::int64_t points_of(const Fields& fields) const;
  void check(const Fields& fields) const;
  Tensor masked(const Tensor& output, const Fields& fields) const;
  /// Fields of which this rank holds its part, with another number of points per side.
  Tensor resampled(const Tensor& fields, std::int64_t points, std::int64_t new_points) const;
  std::vector<GridBox> planes_in_parts(std::int64_t planes, std::int64_t points) const;
  /// Of each block (own heads, offsets).
  std::vector<Tensor> biases_of(const std::vector<const ScotBlock*>& blocks, const Tensor& offsets) const;
  std::vector<ScotLevel> levels_of(std::int64_t batch, const Tensor& time, const Pass& pass) const;
  CarriedSum embed(const Tensor& input, const ScotLevel& level) const;
  std::vector<Tensor> encode(CarriedSum tokens, const std::vector<ScotLevel>& levels, const Prepared& prepared) const;
  Tensor decode(const std::vector<Tensor>& skips, const std::vector<ScotLevel>& levels, const Prepared& prepared,
                std::vector<Tensor>* hidden) const;
  Tensor run_blocks(const std::vector<ScotBlock>& blocks, const CarriedSum& tokens, const ScotLevel& level, const Prepared& prepared) const;
  template <class Visit>
  void for_each_block(const Visit& visit) const;

  ScotConfig config_;
  ConfigValue document_;
  Mesh mesh_;
  WindowPyramid pyramid_;
  ScotEmbeddings embeddings_;
  std::vector<EncoderLevel> encoder_;
  std::vector<DecoderLevel> decoder_;  // deepest first
  PatchRecovery recovery_;
  std::vector<std::vector<ResidualBlock>> residual_blocks_;  // per level
};

}  // namespace trident
