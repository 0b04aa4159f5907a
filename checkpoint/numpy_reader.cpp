#include "checkpoint/numpy_reader.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

#include "checkpoint/mapped_file.h"
#include "checkpoint/torch_archive.h"
#include "runtime/error.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr std::size_t kMaxHeaderBytes = 64 << 10;

struct NumpyType {
  std::string_view name;
  DType dtype;
};
constexpr std::array<NumpyType, 8> kTypes{{{"<f4", DType::f32},
                                           {"<f8", DType::f64},
                                           {"<f2", DType::f16},
                                           {"<i8", DType::i64},
                                           {"<i4", DType::i32},
                                           {"|b1", DType::boolean},
                                           {"<c8", DType::c64},
                                           {"<c16", DType::c128}}};

/// The header of one array: {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }.
class Header {
 public:
  Header(std::string where, std::string_view text) : where_(std::move(where)), text_(text) {}

  [[noreturn]] void reject(const std::string& what) const {
    throw CheckpointError(concat(where_, ": no array of NumPy that can be read: ", what, "; save it again with numpy.save"));
  }
  std::string type() const {
    const std::string_view rest = after("descr");
    if (rest.empty() || rest.front() != '\'') reject("its numbers are a structure, or none");
    return std::string(rest.substr(1, rest.find('\'', 1) - 1));
  }
  bool is_column_major() const { return after("fortran_order").starts_with("True"); }
  Shape shape() const {
    std::string_view rest = after("shape");
    if (rest.empty() || rest.front() != '(') reject("it has no shape");
    rest.remove_prefix(1);
    Shape shape;
    while (!rest.empty() && rest.front() != ')') {
      if (shape.rank() == Shape::kMaxRank) reject(concat("it has more than ", Shape::kMaxRank, " dimensions"));
      std::int64_t extent = 0;
      const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), extent);
      if (error != std::errc() || extent < 0) reject("its shape is none");
      shape.push_back(extent);
      rest.remove_prefix(static_cast<std::size_t>(end - rest.data()));
      rest.remove_prefix(std::min(rest.size(), rest.find_first_not_of(", L")));
    }
    if (rest.empty()) reject("its shape does not end");
    return shape;
  }

 private:
  std::string_view after(const std::string& key) const {
    const std::size_t at = text_.find("'" + key + "':");
    if (at == std::string_view::npos) reject(concat("its header has no \"", key, "\""));
    std::string_view rest = text_.substr(at + key.size() + 3);
    rest.remove_prefix(std::min(rest.size(), rest.find_first_not_of(' ')));
    return rest;
  }

  std::string where_;
  std::string_view text_;
};

Shape column_major_strides(const Shape& shape) {
  Shape strides = shape;
  std::int64_t stride = 1;
  for (int dim = 0; dim < shape.rank(); ++dim) {
    strides[dim] = stride;
    stride *= std::max<std::int64_t>(shape[dim], 1);
  }
  return strides;
}

/// Bytes of the shape, or nothing if they do not fit in 63 bits.
std::optional<std::int64_t> bytes_of(const Shape& shape, std::size_t size) {
  auto total = static_cast<std::int64_t>(size);
  bool empty = false;
  for (const std::int64_t extent : shape) {
    empty = empty || extent == 0;
    if (__builtin_mul_overflow(total, std::max<std::int64_t>(extent, 1), &total)) return std::nullopt;
  }
  return empty ? 0 : total;
}

}  // namespace

NumpyReader::NumpyReader(const std::filesystem::path& path) : path_(path) {
  if (!is_zip_archive(path)) {
    const auto file = MappedFile::open(path);
    add("", {file->bytes(), file});
    return;
  }
  const ZipReader archive(path);
  for (const ZipEntry& entry : archive.entries()) {
    if (entry.name.ends_with(".npy")) add(entry.name.substr(0, entry.name.size() - 4), archive.read(entry));
  }
  if (entries_.empty()) throw CheckpointError(concat(path.string(), ": holds no array of NumPy; save it again with numpy.savez"));
}

void NumpyReader::add(const std::string& name, const ZipData& data) {
  const std::string_view bytes(reinterpret_cast<const char*>(data.bytes.data()), data.bytes.size());
  const std::string where = name.empty() ? path_.string() : concat(path_.string(), ": array \"", name, "\"");
  const Header nothing(where, {});
  if (!bytes.starts_with(kMagic) || bytes.size() < 12) nothing.reject("it does not begin as one");
  const int version = bytes[6];
  if (version < 1 || version > 3) nothing.reject(concat("version ", version, " of the format is not 1 to 3"));
  std::uint32_t length = 0;
  std::memcpy(&length, bytes.data() + 8, version == 1 ? 2 : 4);
  const std::size_t begin = version == 1 ? 10 : 12;
  if (length > kMaxHeaderBytes || length > bytes.size() - begin)
    nothing.reject(concat("its header claims ", length, " bytes of ", bytes.size()));
  const Header header(where, bytes.substr(begin, length));
  NumpyEntry entry{name, header.type(), std::nullopt, header.shape(), {}};
  const auto type = std::find_if(kTypes.begin(), kTypes.end(), [&](const NumpyType& row) { return row.name == entry.type; });
  if (type != kTypes.end()) {
    entry.dtype = type->dtype;
    const auto needed = bytes_of(entry.shape, size_of(type->dtype));
    const std::size_t there = bytes.size() - begin - length;
    if (!needed || static_cast<std::uint64_t>(*needed) != there) {
      header.reject(concat("the shape ", to_string(entry.shape), " of ", entry.type, " does not have its ", there, " bytes"));
    }
    entry.strides = header.is_column_major() ? column_major_strides(entry.shape) : contiguous_strides(entry.shape);
  }
  entries_.push_back(std::move(entry));
  values_.push_back({data.bytes.subspan(begin + length), data.owner});
}

Tensor NumpyReader::tensor(std::string_view name) const {
  const auto found = std::find_if(entries_.begin(), entries_.end(), [&](const NumpyEntry& entry) { return entry.name == name; });
  if (found == entries_.end()) {
    throw CheckpointError(concat(path_.string(), ": has no array \"", name, "\"; it has ", entries_.size(), " others"));
  }
  if (!found->dtype) {
    throw CheckpointError(concat(path_.string(), ": array \"", name, "\" has numbers of type ", found->type,
                                 ", which Trident does not compute with; save it as float32"));
  }
  const ZipData& values = values_[static_cast<std::size_t>(found - entries_.begin())];
  if (*found->dtype == DType::boolean &&
      std::any_of(values.bytes.begin(), values.bytes.end(), [](std::byte b) { return b > std::byte{1}; })) {
    throw CheckpointError(
        concat(path_.string(), ": array \"", name, "\" is boolean but has bytes other than 0 and 1; the file is damaged"));
  }
  const Shape flat{numel(found->shape)};
  Tensor all;
  if (reinterpret_cast<std::uintptr_t>(values.bytes.data()) % std::min<std::size_t>(size_of(*found->dtype), 8) == 0) {
    all = from_memory(const_cast<std::byte*>(values.bytes.data()), flat, *found->dtype, values.owner);
  } else {
    all = empty(flat, *found->dtype);
    if (!values.bytes.empty()) std::memcpy(all.bytes(), values.bytes.data(), values.bytes.size());
  }
  return Tensor(all.storage(), 0, found->shape, found->strides, *found->dtype);
}

}  // namespace trident
