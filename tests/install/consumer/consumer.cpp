#include "runtime/ops/elementwise.h"
#include "runtime/tensor/create.h"

int main() {
  const trident::Tensor two = trident::full({2, 2}, 1.0, trident::DType::f32) + trident::full({2, 2}, 1.0, trident::DType::f32);
  return trident::to_host<float>(two) == std::vector<float>(4, 2.0f) ? 0 : 1;
}
