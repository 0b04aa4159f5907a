/// The number types of the safetensors format.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string_view>

#include "runtime/tensor/dtype.h"

namespace trident {

struct SafetensorsType {
  std::string_view name;
  std::size_t bytes;
  std::optional<DType> dtype;  // empty: Trident cannot hold it
};

inline constexpr std::array<SafetensorsType, 17> kSafetensorsTypes{{{"F32", 4, DType::f32},
                                                                    {"F64", 8, DType::f64},
                                                                    {"BF16", 2, DType::bf16},
                                                                    {"F16", 2, DType::f16},
                                                                    {"I64", 8, DType::i64},
                                                                    {"I32", 4, DType::i32},
                                                                    {"BOOL", 1, DType::boolean},
                                                                    {"C64", 8, DType::c64},
                                                                    {"U8", 1, {}},
                                                                    {"I8", 1, {}},
                                                                    {"I16", 2, {}},
                                                                    {"U16", 2, {}},
                                                                    {"U32", 4, {}},
                                                                    {"U64", 8, {}},
                                                                    {"F8_E5M2", 1, {}},
                                                                    {"F8_E4M3", 1, {}},
                                                                    {"F8_E8M0", 1, {}}}};

}  // namespace trident
