/// What tests multiply at each mode, on every device.
#pragma once

#include "runtime/kernels/mode_product.h"

namespace trident::testing {

/// Of matrices without gaps; bits of `ways`: conjugate a, conjugate b, add.
inline ModeProduct packed_mode_product(std::int64_t m, std::int64_t n, std::int64_t k, std::int64_t modes, unsigned ways) {
  return {.modes = modes,
          .m = m,
          .n = n,
          .k = k,
          .a_m = k * modes,
          .a_k = modes,
          .b_k = n * modes,
          .b_n = modes,
          .c_m = n * modes,
          .c_n = modes,
          .conjugate_a = (ways & 1U) != 0,
          .conjugate_b = (ways & 2U) != 0,
          .add = (ways & 4U) != 0};
}

}  // namespace trident::testing
