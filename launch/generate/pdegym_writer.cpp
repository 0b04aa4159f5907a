#include "launch/generate/pdegym_writer.h"

namespace trident {

PdegymWriter::PdegymWriter(const std::string& path, const std::string& variable, const Shape& shape, const std::string& source)
    : file_(path),
      hdf5_(Hdf5File::create(file_.temporary().string())),
      dataset_(hdf5_.create_dataset(variable, shape, DType::f32, {1, 1, shape[2], shape[3], shape[4]})) {
  hdf5_.attach_dimensions(dataset_, {"sample", "time", "channel", "x", "y"});
  hdf5_.write_attribute("source", source);
}

void PdegymWriter::write(std::int64_t trajectory, const float* frames) {
  const Shape& shape = dataset_.shape();
  dataset_.write({trajectory, 0, 0, 0, 0}, {1, shape[1], shape[2], shape[3], shape[4]}, frames);
}

void PdegymWriter::commit() {
  dataset_ = {};
  hdf5_.close();
  file_.commit();
}

}  // namespace trident
