#include "models/model.h"

#include "runtime/tensor/copy.h"

namespace trident {

Fields on_device(const Fields& fields, Device device) {
  const auto moved = [device](const Tensor& x) { return x.defined() ? to_device(x, device) : x; };
  Fields result = fields;
  result.input = moved(fields.input), result.time = moved(fields.time);
  result.pixel_mask = moved(fields.pixel_mask), result.label = moved(fields.label);
  return result;
}

}  // namespace trident
