/// One model in several forms of a model directory (single file, shards, pickle): each is loaded and gives the recorded output.
#include <algorithm>

#include "runtime/autograd/tape.h"
#include "runtime/error.h"
#include "tests/golden/mesh_case.h"
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

struct Given {
  Tensor input, time, pixel_mask, label;
};

/// The whole one on the first rank.
Tensor output_of(const std::filesystem::path& form, const Given& given, DType dtype, const Options& options) {
  LoadOptions loading;
  loading.dtype = dtype;
  loading.device = options.device;
  const LoadedModel loaded = trident::load_model(form, options.mesh, loading);
  const MeshCase on_mesh(loaded.model, options.mesh, given.input);
  const auto own = [&](const Tensor& whole, DType type) { return on_device(on_mesh.part(whole), type, options); };
  const Fields fields =
      on_mesh.fields(own(given.input, dtype), own(given.time, dtype), own(given.pixel_mask, DType::boolean), own(given.label, dtype));
  Pass pass;
  pass.precision = dtype;
  return on_mesh.whole_output(loaded.model(fields, loaded.model->prepare(), pass));
}

}  // namespace

bool matches_model_directories(const Folder& folder) {
  return !folder.has("config.json") && folder.tensors() && folder.tensors()->find("output.f64") != nullptr && !forms_in(folder).empty();
}

Rows check_model_directories(Folder& folder, const Options& options) {
  const Recording off(false);
  const Tensor wide = folder.take("output.f64"), narrow = folder.take("output.f32");
  const Given given{folder.take("input"), folder.take("time"), folder.take("pixel_mask"), folder.take("label")};
  Rows rows;
  for (const std::filesystem::path& form : forms_in(folder)) {
    require_mesh(read_model_config(form), given.input, options);
    const auto add = [&](DType dtype, double bound) {
      const Tensor output = output_of(form, given, dtype, options);
      if (!output.defined()) return;  // the first rank compares
      rows.push_back({concat(name_of(dtype), " ", form.filename().string(), " output"), relative_error(output, wide), bound});
    };
    add(DType::f64, kF64Bound);
    if (narrow.defined()) add(DType::f32, f32_bound(relative_error(narrow, wide)));
  }
  return rows;
}

}  // namespace trident::golden
