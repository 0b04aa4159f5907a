#include "launch/generate/pair_writer.h"

namespace trident {
namespace {

Shape with_first(std::int64_t first, const Shape& rest) {
  Shape shape{first};
  for (const std::int64_t extent : rest) shape.push_back(extent);
  return shape;
}

void write_sample(const Hdf5Dataset& dataset, std::int64_t sample, const float* values) {
  Shape start = dataset.shape(), count = dataset.shape();
  for (int dim = 0; dim < start.rank(); ++dim) start[dim] = 0;
  start[0] = sample;
  count[0] = 1;
  dataset.write(start, count, values);
}

}  // namespace

PairWriter::PairWriter(const std::string& path, std::int64_t samples, const Shape& x, const Shape& y,
                       const std::vector<std::pair<std::string, std::string>>& attributes)
    : file_(path),
      hdf5_(Hdf5File::create(file_.temporary().string())),
      x_(hdf5_.create_dataset("x", with_first(samples, x), DType::f32, with_first(1, x))),
      y_(hdf5_.create_dataset("y", with_first(samples, y), DType::f32, with_first(1, y))) {
  for (const auto& [name, value] : attributes) hdf5_.write_attribute(name, value);
}

void PairWriter::write(std::int64_t sample, const float* values) {
  write_sample(x_, sample, values);
  write_sample(y_, sample, values + numel(x_.shape()) / x_.shape()[0]);
}

void PairWriter::commit() {
  x_ = {};
  y_ = {};
  hdf5_.close();
  file_.commit();
}

}  // namespace trident
