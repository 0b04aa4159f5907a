#include "launch/field_file.h"

#include <algorithm>

#include "checkpoint/atomic_file.h"
#include "checkpoint/safetensors_reader.h"
#include "launch/data/hdf5_file.h"
#include "runtime/error.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"

namespace trident {
namespace {

template <class T>
Tensor read_values(const Hdf5Dataset& dataset, const Box& box) {
  const Tensor values = empty(extents_of(box), dtype_of<T>);
  Shape start;
  for (const Range& range : box) start.push_back(range.first);
  if (values.numel() > 0) dataset.read<T>(start, values.shape(), values.data<T>());
  return values;
}

Tensor read_dataset(const Hdf5Dataset& dataset, const Box& box) {
  if (dataset.dtype() == DType::f64) return read_values<double>(dataset, box);
  if (dataset.dtype() == DType::f32) return read_values<float>(dataset, box);
  if (dataset.dtype() == DType::c64) return read_values<c64>(dataset, box);
  if (dataset.dtype() == DType::c128) return read_values<c128>(dataset, box);
  const Tensor integers = read_values<std::int64_t>(dataset, box);
  const Tensor flags = empty(integers.shape(), DType::boolean);  // integers stand for masks: HDF5 has no bool
  copy_into(flags, integers);
  return flags;
}

/// Reals, and the last axis of pairs.
FieldDescription as_pairs(FieldDescription field) {
  field.dtype = field.dtype == DType::c128 ? DType::f64 : DType::f32;
  field.shape.push_back(2);
  return field;
}

/// The file's fields in the order of their bytes, and where they begin.
std::vector<std::uint64_t> begin_safetensors(AtomicFile& file, const std::string& path, const std::vector<FieldDescription>& stored,
                                             Notes notes) {
  notes["format"] = "pt";
  std::vector<LateTensor> tensors;
  for (const FieldDescription& field : stored) tensors.push_back({field.name, field.dtype, field.shape, {}});
  const SafetensorsLayout layout = safetensors_layout(path, tensors, notes);
  file.write(layout.header);
  file.reserve(layout.bytes);
  return layout.offsets;
}

std::vector<std::uint64_t> begin_hdf5(AtomicFile& file, const std::vector<FieldDescription>& stored, const Notes& notes) {
  Hdf5File hdf5 = Hdf5File::create(file.temporary().string());
  std::vector<std::uint64_t> offsets;
  std::uint64_t bytes = 0;
  for (const FieldDescription& field : stored) {
    offsets.push_back(hdf5.reserve_dataset(field.name, field.shape, field.dtype));
    bytes = std::max(bytes, offsets.back() + static_cast<std::uint64_t>(numel(field.shape)) * size_of(field.dtype));
  }
  for (const auto& [name, value] : notes) hdf5.write_attribute(name, value);
  hdf5.close();
  file.reserve(bytes);
  return offsets;
}

/// What the format makes of the fields, in the file's order, and the index of each in `fields`.
std::vector<std::pair<FieldDescription, std::size_t>> stored_fields(const std::vector<FieldDescription>& fields, bool hdf5) {
  std::vector<std::pair<FieldDescription, std::size_t>> stored;
  for (std::size_t index = 0; index < fields.size(); ++index) {
    const FieldDescription& field = fields[index];
    const bool split = hdf5 ? is_complex(field.dtype) : field.dtype == DType::c128;
    stored.emplace_back(split ? as_pairs(field) : field, index);
    // HDF5 has no short name for other types; masks are not written.
    if (hdf5 && stored.back().first.dtype != DType::f64) stored.back().first.dtype = DType::f32;
  }
  // safetensors aligns its numbers by writing the wide ones first.
  if (!hdf5) std::ranges::stable_sort(stored, std::ranges::greater{}, [](const auto& field) { return size_of(field.first.dtype); });
  return stored;
}

}  // namespace

Box box_of(const FieldPiece& piece, const Shape& shape, int num_dims, bool pairs) {
  Box box = whole_box(shape);
  const std::size_t columns = box.size() - (pairs ? 2 : 1);
  box.front() = piece.samples;
  box[columns] = piece.rectangle.columns;
  if (num_dims > 1) box[columns - 1] = piece.rectangle.rows;
  return box;
}

FieldFileReader::FieldFileReader(const std::string& path) : path_(path) {
  if (is_hdf5_name(path)) {
    const auto file = std::make_shared<const Hdf5File>(Hdf5File::open(path));
    std::vector<std::string> names{"input", "output", "time", "pixel_mask"};
    if (!file->contains("output")) {
      const std::vector<std::string> all = file->variables();  // an evaluation's fields have the frames in their names
      if (std::ranges::any_of(all, [](const std::string& name) { return name.ends_with("/label"); })) names = all;
    }
    for (const std::string& name : names) {
      if (!file->contains(name)) continue;
      const Hdf5Dataset dataset = file->dataset(name);
      fields_.push_back({name, dataset.dtype() == DType::i64 ? DType::boolean : dataset.dtype(), dataset.shape()});
    }
    notes_ = file->attributes();
    hdf5_ = file;
    return;
  }
  safetensors_ = std::make_shared<const SafetensorsReader>(path);
  notes_ = safetensors_->metadata();
  for (const SafetensorsEntry& entry : safetensors_->entries()) {
    if (entry.dtype) fields_.push_back({entry.name, *entry.dtype, entry.shape});
  }
}

std::optional<FieldDescription> FieldFileReader::find(const std::string& name) const {
  const auto found = std::ranges::find(fields_, name, &FieldDescription::name);
  return found == fields_.end() ? std::nullopt : std::optional(*found);
}

Tensor FieldFileReader::read(const std::string& name, const Box& box) const {
  if (hdf5_) return read_dataset(hdf5_->dataset(name), box);
  Tensor part = safetensors_->tensor(name);
  for (std::size_t dim = 0; dim < box.size(); ++dim) part = view::slice(part, static_cast<int>(dim), box[dim].first, box[dim].last);
  return part;
}

Tensor FieldFileReader::read(const std::string& name) const {
  const auto field = find(name);
  return field ? read(name, whole_box(field->shape)) : Tensor{};
}

FieldFileWriter::FieldFileWriter(const std::string& path, const std::vector<FieldDescription>& fields, const Notes& notes,
                                 Communicator& ranks) {
  const bool hdf5 = is_hdf5_name(path);
  std::vector<FieldDescription> stored;
  const auto ordered = stored_fields(fields, hdf5);
  for (const auto& [field, index] : ordered) stored.push_back(field);
  std::vector<std::uint64_t> begins(stored.size(), 0);
  file_ = std::make_unique<SharedFile>(path, ranks, [&](AtomicFile& file) {
    begins = hdf5 ? begin_hdf5(file, stored, notes) : begin_safetensors(file, path, stored, notes);
  });
  const Tensor offsets =
      from_values<std::int64_t>({static_cast<std::int64_t>(begins.size())}, std::vector<std::int64_t>(begins.begin(), begins.end()));
  ranks.broadcast(offsets, 0);
  for (std::size_t at = 0; at < stored.size(); ++at) {
    const FieldDescription& given = fields[ordered[at].second];
    places_[given.name] = {given.shape, stored[at], static_cast<std::uint64_t>(offsets.data<std::int64_t>()[at])};
  }
}

void FieldFileWriter::write(const std::string& name, const Box& box, const Tensor& part) const {
  const auto& [given, field, offset] = places_.at(name);
  Tensor values = part;
  Box place = box;
  if (is_complex(part.dtype()) && !is_complex(field.dtype)) {
    values = view::as_real(packed(part));
    place.push_back({0, 2});
  }
  if (values.dtype() != field.dtype) {
    const Tensor converted = empty(values.shape(), field.dtype);
    copy_into(converted, values);
    values = converted;
  }
  file_->write(offset, field.shape, place, values);
}

void FieldFileWriter::write(const std::string& name, const FieldPieces& pieces, const Tensor& part, int num_dims, bool pairs,
                            std::int64_t first_sample) const {
  const Shape& shape = places_.at(name).given;
  std::int64_t begin = 0;
  for (FieldPiece piece : pieces) {
    const std::int64_t end = begin + piece.samples.size();
    piece.samples = {piece.samples.first + first_sample, piece.samples.last + first_sample};
    write(name, box_of(piece, shape, num_dims, pairs), view::slice(part, 0, begin, end));
    begin = end;
  }
}

bool is_hdf5_name(const std::string& path) { return path.ends_with(".h5") || path.ends_with(".hdf5") || path.ends_with(".nc"); }

Tensor FieldFile::find(const std::string& name) const {
  const auto found = std::ranges::find(tensors, name, &NamedTensor::name);
  return found == tensors.end() ? Tensor{} : found->tensor;
}

FieldFile read_field_file(const std::string& path) {
  const FieldFileReader reader(path);
  FieldFile file{.tensors = {}, .notes = reader.notes()};
  for (const FieldDescription& field : reader.fields()) file.tensors.push_back({field.name, reader.read(field.name)});
  return file;
}

}  // namespace trident
