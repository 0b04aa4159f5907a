/// A field that domain ranks share is predicted as one rank predicts it.
#include <gtest/gtest.h>

#include "runtime/autograd/tape.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"
#include "tests/models/support.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_near.h"
#include "tests/support/test_world.h"

namespace trident {
namespace {

using testing::pass_of, testing::random_tensor, testing::section, testing::world;

constexpr std::int64_t kPoints = 512;

ScotConfig large_config() {
  ScotConfig config = testing::small_config();
  config.image_size = kPoints, config.patch_size = 4, config.window_size = 16;
  config.embed_dim = 8, config.depths = {2, 2, 2}, config.num_heads = {1, 2, 4}, config.skip_connections = {1, 1, 0};
  config.initializer_range = 0.2;
  return config;
}

Tensor own_part(const Tensor& whole, const Rectangle& rectangle) {
  const Tensor rows = view::slice(whole, 2, rectangle.rows.first, rectangle.rows.last);
  return packed(view::slice(rows, 3, rectangle.columns.first, rectangle.columns.last));
}

Tensor predicted(const ScotConfig& config, std::int64_t points, const Mesh& mesh) {
  const Model model = describe_model(section(config), mesh);
  const ParameterList parameters = materialize(model, DType::f32, Use::inference, RandomKey(3));
  const Rectangle own = model->rectangle(points, points);
  const Fields fields{.input = own_part(random_tensor({1, 2, points, points}, 1, DType::f32), own),
                      .time = full({1}, 0.5, DType::f32),
                      .pixel_mask = {},
                      .label = {}};
  return model(fields, model->prepare(), pass_of(DType::f32));
}

void expect_like_one_rank(const ScotConfig& config, std::int64_t points) {
  const int ranks = world()->size();
  const Tensor whole = predicted(config, points, Mesh());
  for (int y = 1; y <= ranks; ++y) {
    if (ranks % y != 0) continue;
    const Mesh mesh(world(), {1, y, ranks / y, 1});
    const Rectangle own = describe_model(section(config), mesh)->rectangle(points, points);
    EXPECT_TENSOR_NEAR(predicted(config, points, mesh), own_part(whole, own), 1e-5) << y << " x " << ranks / y;
  }
}

TEST(ScotLargeField, IsPredictedOnEveryGridOfDomainRanksAsOnOne) {
  if (world()->size() <= 4) expect_like_one_rank(large_config(), kPoints);  // with more nothing new, and every rank computes it whole, too
}

TEST(ScotLargeField, OfAnyOtherSizeIsNotToldButAskedFor) {
  ScotConfig config = testing::small_config();
  config.image_size = 32;
  config.initializer_range = 0.2;
  if (world()->size() <= 4) expect_like_one_rank(config, 21);
}

}  // namespace
}  // namespace trident
