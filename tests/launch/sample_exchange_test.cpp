/// Downsampled fields on a mesh: each is read whole by one rank, and all ranks get their rectangles of it.
#include "launch/data/sample_exchange.h"

#include <gtest/gtest.h>

#include "launch/data/loader.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"
#include "tests/launch/data_files.h"
#include "tests/support/random_tensor.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tensor_near.h"
#include "tests/support/test_world.h"

namespace trident {
namespace {

using testing::TemporaryFolder;
using testing::world;

std::vector<MeshSizes> meshes() {
  const int ranks = world()->size();
  std::vector<MeshSizes> sizes{{1, ranks, 1, 1}, {1, 1, ranks, 1}, {ranks, 1, 1, 1}};
  if (ranks == 4) sizes.push_back({1, 2, 2, 1});
  if (ranks == 4) sizes.push_back({2, 2, 1, 1});
  return sizes;
}

Rectangle rectangle_of(const Mesh& mesh, std::int64_t ny, std::int64_t nx) {
  return {.rows = part_of(ny, mesh.size(Axis::domain_y), mesh.coordinate(Axis::domain_y)),
          .columns = part_of(nx, mesh.size(Axis::domain_x), mesh.coordinate(Axis::domain_x))};
}

Tensor rectangle_of(const Tensor& whole, const Rectangle& part) {
  return packed(view::slice(view::slice(whole, 2, part.rows.first, part.rows.last), 3, part.columns.first, part.columns.last));
}

TEST(SampleExchange, SharesBecomeRectanglesOfAllSamples) {
  for (const MeshSizes& sizes : meshes()) {
    const Mesh mesh(world(), sizes);
    const Rectangle own = rectangle_of(mesh, 6, 5);
    const SampleExchange exchange(mesh, own, 2);
    for (const std::int64_t samples : {1, 3}) {
      const Tensor input = testing::random_tensor({samples, 2, 6, 5}, 1), label = testing::random_tensor({samples, 1, 6, 5}, 2);
      const Tensor numbers = testing::random_tensor({samples, 3}, 3);
      const Range share = exchange.share(samples);
      const auto rows = [&](const Tensor& x) { return packed(view::slice(x, 0, share.first, share.last)); };
      Fields fields{.input = rows(input), .time = {}, .pixel_mask = rows(numbers), .label = rows(label)};
      exchange.complete(fields, samples);
      EXPECT_TENSOR_NEAR(fields.input, rectangle_of(input, own), 0.0) << to_string(mesh);
      EXPECT_TENSOR_NEAR(fields.label, rectangle_of(label, own), 0.0) << to_string(mesh);
      EXPECT_TENSOR_NEAR(fields.pixel_mask, numbers, 0.0) << to_string(mesh);
    }
  }
}

TEST(SampleExchange, ALoaderGivesTheBatchesOfRanksThatReadEverything) {
  const TemporaryFolder folder;
  const std::string path = (folder / "fields.h5").string();
  const Shape shape{5, 2, 12, 12};
  const Tensor values = empty(shape, DType::f32);
  copy_into(values, testing::random_tensor(shape, 1));
  Hdf5File::create(path).create_dataset("x", shape, DType::f32).write({0, 0, 0, 0}, shape, values.data<float>());
  DataEntry entry;
  entry.path = path;
  entry.input = "x";
  entry.channels = {"a", "b"};
  entry.resolution = 8;
  const auto data = std::make_shared<const Dataset>(open_dataset({}, {entry}, Split::train, "data.train"));
  ASSERT_TRUE(data->is_resampled());
  for (const MeshSizes& sizes : meshes()) {
    const Mesh mesh(world(), sizes);
    LoaderOptions options{.global_batch_size = 4,
                          .micro_batches = 2,
                          .rank = mesh.coordinate(Axis::data),
                          .num_ranks = mesh.size(Axis::data),
                          .part = [&](const Shape& extents) { return box_of(extents, rectangle_of(mesh, extents[0], extents[1])); },
                          .shuffle = true,
                          .epochs = 2,
                          .dtype = DType::f64};
    Loader by_itself(data, options);
    options.mesh = mesh;
    Loader together(data, options);
    int batches = 0;
    for (auto expected = by_itself.next(); expected; expected = by_itself.next(), ++batches) {
      const auto found = together.next();
      ASSERT_TRUE(found);
      ASSERT_EQ(found->micro_batches.size(), expected->micro_batches.size());
      for (std::size_t part = 0; part < found->micro_batches.size(); ++part) {
        const MicroBatch &mine = found->micro_batches[part], &theirs = expected->micro_batches[part];
        EXPECT_EQ(mine.samples, theirs.samples);
        EXPECT_TENSOR_NEAR(mine.fields.input, theirs.fields.input, 0.0) << to_string(mesh);
        EXPECT_TENSOR_NEAR(mine.fields.label, theirs.fields.label, 0.0) << to_string(mesh);
      }
    }
    EXPECT_EQ(batches, 4);
    EXPECT_FALSE(together.next());
  }
}

}  // namespace
}  // namespace trident
