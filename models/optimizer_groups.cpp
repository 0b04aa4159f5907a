#include "models/optimizer_groups.h"

#include <algorithm>

namespace trident {
namespace {

bool contains(std::string_view name, std::string_view part) { return name.find(part) != std::string_view::npos; }

/// A conditional norm holds two linear layers called weight and bias.
bool in_conditional_norm(std::string_view name) {
  constexpr std::array<std::string_view, 4> kEndings{".weight.weight", ".weight.bias", ".bias.weight", ".bias.bias"};
  return std::ranges::any_of(kEndings, [&](std::string_view ending) { return name.ends_with(ending); });
}

/// The module that holds the parameter is called ...norm..., as every layer norm of the references is.
bool in_norm(std::string_view name) {
  const std::size_t dot = name.rfind('.');
  if (dot == std::string_view::npos) return false;
  const std::string_view module = name.substr(0, dot);
  return contains(module.substr(module.rfind('.') + 1), "norm");
}

}  // namespace

std::string_view name_of(OptimizerGroup group) {
  const auto names = config_names(group);
  return std::ranges::find(names, group, [](const auto& entry) { return entry.first; })->second;
}

OptimizerGroup optimizer_group(std::string_view name, FineTuningGroups fine_tuning) {
  if (fine_tuning.embedding_recovery && (contains(name, "embeddings") || contains(name, "patch_recovery"))) {
    return OptimizerGroup::embedding_recovery;
  }
  if (in_conditional_norm(name)) return fine_tuning.time_conditioning ? OptimizerGroup::time_conditioning : OptimizerGroup::no_decay;
  return contains(name, "bias") || in_norm(name) ? OptimizerGroup::no_decay : OptimizerGroup::decay;
}

}  // namespace trident
