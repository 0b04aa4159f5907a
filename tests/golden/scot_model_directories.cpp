/// One model in several forms of a model directory (single file, shards, pickle): each is loaded and gives the recorded output.
#include <algorithm>

#include "runtime/autograd/tape.h"
#include "tests/golden/scot.h"

namespace trident::golden {
namespace {

std::vector<std::filesystem::path> forms_in(const Folder& folder) {
  std::vector<std::filesystem::path> forms;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
    if (std::filesystem::exists(entry.path() / "config.json")) forms.push_back(entry.path());
  }
  std::ranges::sort(forms);
  return forms;
}

Tensor output_of(const std::filesystem::path& form, const Fields& fields, DType dtype, const Options& options) {
  LoadOptions loading;
  loading.dtype = dtype;
  loading.device = options.device;
  const LoadedModel loaded = trident::load_model(form, Mesh(), loading);
  Pass pass;
  pass.precision = dtype;
  return loaded.model(fields, loaded.model->prepare(), pass);
}

}  // namespace

bool matches_model_directories(const Folder& folder) {
  return !folder.has("config.json") && folder.tensors() && folder.tensors()->find("output.f64") != nullptr && !forms_in(folder).empty();
}

Rows check_model_directories(Folder& folder, const Options& options) {
  const Recording off(false);
  const Tensor wide = folder.take("output.f64"), narrow = folder.take("output.f32");
  const Fields fields = on_device({.input = folder.take("input"), .time = folder.take("time"), .pixel_mask = folder.take("pixel_mask"),
                                   .label = folder.take("label")}, options.device);
  Rows rows;
  for (const std::filesystem::path& form : forms_in(folder)) {
    const std::string name = form.filename().string() + " output";
    rows.push_back({"f64 " + name, relative_error(output_of(form, fields, DType::f64, options), wide), kF64Bound});
    if (!narrow.defined()) continue;
    const double bound = f32_bound(relative_error(narrow, wide));
    rows.push_back({"f32 " + name, relative_error(output_of(form, fields, DType::f32, options), wide), bound});
  }
  return rows;
}

}  // namespace trident::golden
