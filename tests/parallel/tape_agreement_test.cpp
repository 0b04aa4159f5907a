#include "parallel/tape_agreement.h"

#include <gtest/gtest.h>

#include "runtime/autograd/tape.h"
#include "runtime/error.h"
#include "runtime/ops/elementwise.h"
#include "runtime/ops/reduce.h"
#include "runtime/tensor/create.h"
#include "tests/support/test_world.h"

namespace trident {
namespace {

using testing::world;

Mesh all_ranks() { return Mesh(world(), {world()->size(), 1, 1, 1}); }

TEST(TapeAgreement, RanksWithNothingToDoRecordTheSame) {
  const Tensor weight = leaf(full({4}, 2.0, DType::f64));
  const Tensor mine = zeros({world()->rank() == 0 ? 3 : 0, 4}, DType::f64);
  EXPECT_NO_THROW(require_same_tape(all_ranks(), sum(gelu(mine * weight))));
}

TEST(TapeAgreement, AnEarlyReturnIsFound) {
  const Tensor weight = leaf(full({4}, 2.0, DType::f64));
  const Tensor y = world()->rank() == world()->size() - 1 ? weight : gelu(weight);
  if (world()->size() == 1) {
    EXPECT_NO_THROW(require_same_tape(all_ranks(), sum(y)));
  } else {
    EXPECT_THROW(require_same_tape(all_ranks(), sum(y)), CommunicationError);
  }
}

}  // namespace
}  // namespace trident
