#include "models/captured_model.h"

#include <algorithm>
#include <array>
#include <list>
#include <utility>

#include "runtime/autograd/tape.h"
#include "runtime/device/cuda_graph.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

std::array<const Tensor*, 4> tensors_of(const Fields& fields) { return {&fields.input, &fields.time, &fields.pixel_mask, &fields.label}; }

bool alike(const Tensor& a, const Tensor& b) {
  if (!a.defined() || !b.defined()) return a.defined() == b.defined();
  return a.shape() == b.shape() && a.dtype() == b.dtype() && a.device() == b.device();
}

Tensor memory_for(const Tensor& x) { return x.defined() ? empty_like(x) : x; }

/// The forward of fields of one shape, in memory of its own.
struct Forward {
  Fields fields;
  Prepared prepared;
  DType precision;
  std::unique_ptr<CudaGraph> graph;  // none after the first call
  Tensor output;                     // in the graph's memory: goes before it

  bool fits(const Fields& other, const Prepared& other_prepared, const Pass& pass) const {
    const auto same = [](const Tensor& a, const Tensor& b) { return a.bytes() == b.bytes(); };
    return pass.precision == precision &&
           std::ranges::equal(tensors_of(fields), tensors_of(other), [](auto* a, auto* b) { return alike(*a, *b); }) &&
           fields.ny == other.ny && fields.nx == other.nx && std::ranges::equal(prepared, other_prepared, same);
  }
};

class CapturedModel final : public ModelInterface {
 public:
  CapturedModel(const Model& model, Device device) : model_(model), device_(device) {}

  Tensor call(const Fields& fields, const Prepared& prepared, const Pass& pass, std::vector<Tensor>* hidden) const override {
    const bool predicts = pass.mode == Mode::eval && hidden == nullptr && !Recording::is_on() && !fields.patches;
    if (!predicts) return model_(fields, prepared, pass, hidden);
    const auto known = std::ranges::find_if(forwards_, [&](const Forward& forward) { return forward.fits(fields, prepared, pass); });
    if (known == forwards_.end()) {
      if (forwards_.size() == kMostShapes) forwards_.pop_back();
      remember(fields, prepared, pass);
      return model_(fields, prepared, pass);
    }
    forwards_.splice(forwards_.begin(), forwards_, known);
    return launch(forwards_.front(), fields, pass);
  }

  void visit(const ParameterVisitor& visitor) override { model_->visit(visitor); }
  Prepared prepare() const override { return model_->prepare(); }
  ConfigValue config() const override { return model_->config(); }
  std::string type() const override { return model_->type(); }
  int num_channels() const override { return model_->num_channels(); }
  int num_out_channels() const override { return model_->num_out_channels(); }
  int num_dims() const override { return model_->num_dims(); }
  Rectangle rectangle(std::int64_t ny, std::int64_t nx) const override { return model_->rectangle(ny, nx); }
  std::vector<std::int64_t> output_extents(const std::vector<std::int64_t>& extents) const override {
    return model_->output_extents(extents);
  }
  bool uses_time() const override { return model_->uses_time(); }
  bool is_complex() const override { return model_->is_complex(); }
  LossDescription loss() const override { return model_->loss(); }
  std::optional<PatchingConfig> patching() const override { return model_->patching(); }
  double forward_flops(std::int64_t batch, const std::vector<std::int64_t>& extents) const override {
    return model_->forward_flops(batch, extents);
  }

 private:
  static constexpr std::size_t kMostShapes = 4;  // each holds the memory of a forward

  void remember(const Fields& fields, const Prepared& prepared, const Pass& pass) const {
    Fields inputs = fields;
    inputs.input = memory_for(fields.input), inputs.time = memory_for(fields.time);
    inputs.pixel_mask = memory_for(fields.pixel_mask), inputs.label = memory_for(fields.label);
    forwards_.push_front({.fields = inputs, .prepared = prepared, .precision = pass.precision, .graph = nullptr, .output = {}});
  }

  Tensor launch(Forward& forward, const Fields& fields, const Pass& pass) const {
    const auto targets = tensors_of(forward.fields), sources = tensors_of(fields);
    for (std::size_t i = 0; i < targets.size(); ++i) {
      if (targets[i]->defined()) copy_into(*targets[i], *sources[i]);
    }
    if (forward.graph == nullptr) {
      forward.graph = std::make_unique<CudaGraph>(
          device_, [&forward, pass, model = model_] { forward.output = model(forward.fields, forward.prepared, pass); });
    }
    forward.graph->launch();  // also the first time: the output is where the capture has put it, and nothing is there yet
    const Tensor result = empty_like(forward.output);
    copy_into(result, forward.output);
    return result;
  }

  Model model_;
  Device device_;
  mutable std::list<Forward> forwards_;  // the last ones first
};

}  // namespace

Model captured(const Model& model, const Mesh& mesh, Device device) {
  if (device.kind != Device::Kind::cuda || mesh.world().size() > 1) return model;
  return Model(std::make_shared<CapturedModel>(model, device));
}

}  // namespace trident
