#include "launch/data/window_reader.h"

#include <gtest/gtest.h>

#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"
#include "tests/launch/data_files.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tensor_near.h"

namespace trident {
namespace {

using testing::TemporaryFolder;

/// Three samples of two channels whose values are all different; the label is the input.
Dataset counting_dataset(const TemporaryFolder& folder, std::int64_t ny, std::int64_t nx) {
  DataEntry entry;
  entry.path = (folder / "fields.h5").string();
  entry.input.emplace("x");
  entry.channels = {"a", "b"};
  testing::write_counting(entry.path, "x", {3, 2, ny, nx});
  return open_dataset({}, {entry}, Split::train, "data.train");
}

/// The inputs and labels of samples, whole: (sample, channel, y, x).
std::pair<Tensor, Tensor> whole_fields(const Dataset& dataset, const std::vector<std::int64_t>& samples) {
  const auto count = static_cast<std::int64_t>(samples.size()), points = dataset.ny() * dataset.nx();
  const Tensor input = empty({count, dataset.in_channels(), dataset.ny(), dataset.nx()}, DType::f32);
  const Tensor label = empty({count, dataset.out_channels(), dataset.ny(), dataset.nx()}, DType::f32);
  for (std::int64_t k = 0; k < count; ++k) {
    dataset.read(samples[static_cast<std::size_t>(k)], {input.data<float>() + k * dataset.in_channels() * points,
                                                        label.data<float>() + k * dataset.out_channels() * points, nullptr});
  }
  return {input, label};
}

TEST(WindowReader, ReadsTheWindowsThatWholeFieldsWouldBeCutInto) {
  const TemporaryFolder folder;
  const Dataset dataset = counting_dataset(folder, 32, 64);
  const std::vector<std::int64_t> samples{2, 0};
  const auto [input, label] = whole_fields(dataset, samples);
  for (const BeyondEdge mode : {BeyondEdge::periodic, BeyondEdge::zeros, BeyondEdge::edge}) {
    for (const int levels : {1, 2}) {
      const PatchGrid grid({.levels = levels, .padding_fraction = {0.0625, 0.125}, .padding_mode = mode}, 32, 64);
      const std::int64_t all = 2 * grid.patches();
      for (const Range units : {Range{0, all}, Range{1, 3}, Range{all - 3, all}, Range{2, 2}}) {
        const Fields fields = read_patches(dataset, grid, samples, units);
        EXPECT_TENSOR_NEAR(fields.input, packed(view::slice(multigrid_patches(input, grid), 0, units.first, units.last)), 0.0);
        EXPECT_TENSOR_NEAR(fields.label, gather_windows(label, patch_windows(grid, units, 1)), 0.0);
        EXPECT_EQ(fields.patches->units, units);
        EXPECT_EQ(fields.patches->samples, 2);
      }
    }
  }
}

}  // namespace
}  // namespace trident
