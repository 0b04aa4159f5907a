#include "launch/plan/counted_batch.h"

#include "launch/data/field_source.h"
#include "parallel/range.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

Tensor fields_of(const Dataset& dataset, const LoaderOptions& options, Shape leading, const Box& part, DType dtype) {
  for (const Range& range : part) leading.push_back(range.size());
  const bool complex = dataset.is_complex() && dtype != DType::boolean;
  return empty(leading, complex ? complex_of(dtype) : dtype, options.device);
}

MicroBatch counted_samples(const Dataset& dataset, const LoaderOptions& options, Range samples) {
  const Box part = options.part ? options.part(dataset.extents()) : whole_box(dataset.extents());
  const std::int64_t batch = samples.size();
  MicroBatch result;
  result.first_sample = samples.first;
  Fields& fields = result.fields;
  fields.input = fields_of(dataset, options, {batch, dataset.in_channels()}, part, options.dtype);
  fields.label = fields_of(dataset, options, {batch, dataset.out_channels()}, part, options.dtype);
  if (dataset.has_time()) fields.time = empty({batch}, options.dtype, options.device);
  if (dataset.mask() == Dataset::Mask::channels) {
    fields.pixel_mask = empty({batch, dataset.out_channels()}, DType::boolean, options.device);
  } else if (dataset.mask() == Dataset::Mask::points) {
    fields.pixel_mask = fields_of(dataset, options, {batch, 1}, part, DType::boolean);
  }
  fields.ny = dataset.ny(), fields.nx = dataset.nx();
  return result;
}

MicroBatch counted_patches(const Dataset& dataset, const LoaderOptions& options, Range samples) {
  const PatchGrid grid(*options.patches, dataset.ny(), dataset.nx());
  const Range units = part_of(samples.size() * grid.patches(), options.num_ranks, options.rank);
  const auto windows_of = [&](const WindowIndices& indices, int channels) {
    return empty({indices.units(), indices.levels * channels, indices.rows, indices.columns}, options.dtype, options.device);
  };
  MicroBatch result;
  result.first_sample = samples.first;
  result.fields.input =
      windows_of(options.patch_windows ? *multigrid_windows(grid, units) : *patch_windows(grid, units), dataset.in_channels());
  result.fields.label = windows_of(*patch_windows(grid, units, 1), dataset.out_channels());
  result.fields.ny = grid.ny, result.fields.nx = grid.nx;
  result.fields.patches = PatchUnits{.units = units, .samples = samples.size(), .windows = options.patch_windows};
  return result;
}

}  // namespace

GlobalBatch counted_batch(const Dataset& dataset, const LoaderOptions& options) {
  GlobalBatch batch;
  batch.size = options.global_batch_size;
  const Range mine = options.patches ? Range{0, batch.size} : part_of(batch.size, options.num_ranks, options.rank);
  for (int index = 0; index < options.micro_batches; ++index) {
    const Range inside = part_of(mine.size(), options.micro_batches, index);
    const Range samples{mine.first + inside.first, mine.first + inside.last};
    batch.micro_batches.push_back(options.patches ? counted_patches(dataset, options, samples)
                                                  : counted_samples(dataset, options, samples));
  }
  return batch;
}

}  // namespace trident
