#include "checkpoint/box.h"
#include "models/scot/scot_config.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "tests/golden/hashed_weights.h"
#include "tests/golden/scot.h"

namespace trident::golden {

bool is_scot(const Folder& folder) { return folder.has("config.json") && is_hugging_face_config(folder.json("config.json")); }

LoadedModel load_model(const Folder& folder, DType dtype, Use use, const Options& options) {
  if (folder.has("model.safetensors")) {
    LoadOptions loading;
    loading.dtype = dtype;
    loading.use = use;
    loading.device = options.device;
    return trident::load_model(folder.path(), options.mesh, loading);
  }
  LoadedModel loaded;
  loaded.model = describe_model(folder.json("config.json"), options.mesh);
  loaded.parameters = materialize(loaded.model, dtype, use, std::nullopt, {}, options.device);
  for (const NamedPiece& piece : loaded.parameters.pieces()) {
    const Shape& shape = piece.piece.full_shape;
    copy_overlap(piece.value.detached(), piece.piece.owned, from_values<float>(shape, hashed_weights(piece.name, shape)), whole_box(shape));
  }
  for (const auto& buffer : loaded.parameters.buffers()) {
    if (!is_floating(buffer.value.dtype())) continue;
    copy_into(buffer.value, from_values<float>(buffer.value.shape(), hashed_weights(buffer.name, buffer.value.shape())));
  }
  loaded.parameters.round_values();
  return loaded;
}

Tensor on_device(const Tensor& x, DType dtype, const Options& options) {
  if (!x.defined()) return {};
  const Tensor result = empty(x.shape(), dtype, options.device);
  copy_into(result, x);
  return result;
}

}  // namespace trident::golden
