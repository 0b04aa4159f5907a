/// Regularisation by chance. Random numbers are indexed by the global element, so they are the same however a batch is divided;
/// the pass knows the first sample that this rank holds.
#pragma once

#include <string_view>

#include "models/layers/field_place.h"
#include "models/module.h"
#include "parallel/domain.h"
#include "runtime/ops/layer_norm.h"

namespace trident {

/// Dropout of the elements of x (batch, ...) in training; x itself otherwise. `site` tells apart the calls of one module.
Tensor drop_elements(const Tensor& x, double probability, const Pass& pass, std::string_view site);
/// The same of this rank's part of a field (batch, channel, space...).
Tensor drop_elements(const Tensor& x, double probability, const Pass& pass, std::string_view site, const FieldPlace& place);
/// The same of this rank's tokens of a level, or of the `part` of them that x is.
Tensor drop_elements(const Tensor& x, double probability, const Pass& pass, std::string_view site, const WindowLevel& level,
                     const std::optional<SampleRows>& part = {});

/// Drop-path: per sample, 0 with the given probability, else 1 / (1 - probability). (batch, 1); undefined where nothing is dropped.
Tensor drop_path_factor(std::int64_t batch, double probability, const Pass& pass, std::string_view site, Device device);

}  // namespace trident
