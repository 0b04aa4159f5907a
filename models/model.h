/// A model of any type as one value: what the trainer, the evaluation, the checkpoints and the service know of it.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "models/mg_tfno/multigrid_patches.h"
#include "models/module.h"
#include "models/norm_loss.h"
#include "runtime/config.h"
#include "runtime/ops/reduce.h"

namespace trident {

/// Patches of a batch that ranks share out (mg_tfno/multigrid_patches.h): which of them this rank holds, of how many samples.
struct PatchUnits {
  Range units;
  std::int64_t samples = 0;
  bool windows = true;  // the input is their windows; false: the patches alone, and the ranks exchange what their windows see of others
};

/// One batch of fields, of which this rank holds its rectangle. All but `input` may be undefined. Models of one or three dimensions have
/// one axis less or more than is written here.
struct Fields {
  Tensor input;       // (batch, channel, y, x)
  Tensor time;        // (batch,) lead time over the problem's scale
  Tensor pixel_mask;  // bool, (batch, channel) or (batch, channel or 1, y, x): true = not predicted
  Tensor label;       // (batch, out channel, y, x): overwrites masked outputs, and the loss's target
  // Points of the whole field where domain ranks share it; 0: the ranks ask each other.
  std::int64_t ny = 0, nx = 0;
  // Given: the input is (unit, (levels + 1) * channel, window rows, window columns), or (unit, channel, rows, columns) without windows; the
  // label (unit, out channel, rows + 2, columns + 2): the patches and one point around them, wrapped at the edges of the field.
  std::optional<PatchUnits> patches = {};
};

/// The same numbers in memory of another device.
Fields on_device(const Fields& fields, Device device);

/// How a loss of norms looks at fields that a model computes in patches.
struct PatchLoss {
  int per_side = 1;
  bool of_whole_fields = true;  // false: each patch is a field of its own
};

/// What the loss of a model is, as its configuration says: a ratio of sums over the batch, or norms of each sample and channel.
struct LossDescription {
  int p = 1;                              // 1: sums of |e|, 2: sums of e^2
  std::vector<ChannelGroup> groups = {};  // empty: absolute loss (mean over all), else mean over groups of relative losses
  std::optional<NormLoss> norm = {};      // instead of the ratio of sums
  std::optional<PatchLoss> patches = {};
};

/// What depends on the parameters alone (position biases), computed once a step or once per loaded model.
using Prepared = std::vector<Tensor>;

/// What every type of model implements; users hold a Model.
class ModelInterface {
 public:
  virtual ~ModelInterface() = default;
  virtual void visit(const ParameterVisitor& visitor) = 0;
  virtual Prepared prepare() const = 0;
  virtual Tensor call(const Fields& fields, const Prepared& prepared, const Pass& pass, std::vector<Tensor>* hidden) const = 0;
  virtual ConfigValue config() const = 0;  // as the reference's config.json
  virtual std::string type() const = 0;    // "scot", ...
  virtual int num_channels() const = 0;
  virtual int num_out_channels() const = 0;
  virtual int num_dims() const = 0;  // space axes of its fields
  /// What this rank holds, from file to loss, of the last two axes of a field of ny x nx points (1-D: ny is 1).
  virtual Rectangle rectangle(std::int64_t ny, std::int64_t nx) const = 0;
  /// Points per space axis of the output for fields of `extents` points. Throws ShapeError if the model does not take such fields.
  virtual std::vector<std::int64_t> output_extents(const std::vector<std::int64_t>& extents) const = 0;
  virtual bool uses_time() const = 0;
  virtual bool is_complex() const { return false; }  // its fields are
  virtual LossDescription loss() const = 0;
  /// How fields are cut into patches that data and domain ranks share out; nothing if they hold samples and rectangles instead.
  virtual std::optional<PatchingConfig> patching() const { return std::nullopt; }
  /// Multiply-adds counted twice. `extents`: points per space axis; 0 if the count depends on them and none are given.
  virtual double forward_flops(std::int64_t batch, const std::vector<std::int64_t>& extents) const = 0;
};

class Model {
 public:
  Model() = default;
  explicit Model(std::shared_ptr<ModelInterface> implementation) : implementation_(std::move(implementation)) {}

  bool defined() const { return implementation_ != nullptr; }
  ModelInterface* operator->() const { return implementation_.get(); }
  /// (batch, out channel, y, x). `hidden` receives the intermediate states in the reference's order, if given.
  Tensor operator()(const Fields& fields, const Prepared& prepared, const Pass& pass, std::vector<Tensor>* hidden = nullptr) const {
    return implementation_->call(fields, prepared, pass, hidden);
  }

 private:
  std::shared_ptr<ModelInterface> implementation_;
};

/// Describes the model that a configuration (`type`, and the reference's own keys) asks for: no memory yet. Throws ConfigError.
Model describe_model(const ConfigValue& config, const Mesh& mesh);
/// Throws ConfigError for a type that is none, and for keys that models of it do not have or whose values are of another kind; describing
/// the model refuses values that do not fit together besides.
void check_model_keys(const ConfigValue& config);
/// Gives it memory, and initial values from `key`; without one they are 0, for a caller who reads them from a file.
ParameterList materialize(const Model& model, DType dtype, Use use, std::optional<RandomKey> key,
                          const std::vector<std::string>& frozen = {}, Device device = {});

}  // namespace trident
