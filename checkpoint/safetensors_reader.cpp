#include "checkpoint/safetensors_reader.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <tuple>
#include <utility>

#include "checkpoint/mapped_file.h"
#include "checkpoint/safetensors_types.h"
#include "runtime/error.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

constexpr std::uint64_t kMaxHeaderBytes = std::uint64_t{16} << 20;  // Poseidon-L's is 0.2 MB
constexpr std::size_t kMaxTensors = 100'000;

[[noreturn]] void reject(const std::filesystem::path& path, const std::string& what) {
  throw CheckpointError(concat(path.string(), ": not a valid safetensors file: ", what, "; fetch or write the file again"));
}

std::string in_quotes(const std::string& name) {
  return name.size() <= 200 ? concat('"', name, '"') : concat('"', name.substr(0, 200), "...\"");
}

/// Takes the header apart while it is parsed, so that nothing is stored that the format does not have:
/// {name: {"dtype": text, "shape": [numbers], "data_offsets": [begin, end]}, "__metadata__": {text: text}}.
class HeaderParser : public nlohmann::json_sax<nlohmann::json> {
 public:
  std::vector<SafetensorsEntry> entries;
  std::map<std::string, std::string> metadata;
  std::string problem;

  bool null() override { return misplaced("null"); }
  bool boolean(bool) override { return misplaced("a boolean"); }
  bool number_integer(number_integer_t) override { return misplaced("a negative number"); }
  bool number_float(number_float_t, const string_t&) override { return misplaced("a number with a fraction"); }
  bool binary(binary_t&) override { return misplaced("binary data"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (place_ == Place::shape) {
      if (value > static_cast<std::uint64_t>(INT64_MAX)) return complain("an extent is too large");
      if (entries.back().shape.rank() == Shape::kMaxRank) return complain("a shape has more than 8 dimensions");
      entries.back().shape.push_back(static_cast<std::int64_t>(value));
      return true;
    }
    if (place_ != Place::offsets) return misplaced("a number");
    if (num_offsets_ == 2) return complain("data_offsets takes two numbers");
    (num_offsets_++ == 0 ? entries.back().offset : entries.back().bytes) = value;  // the end for now
    return true;
  }

  bool string(string_t& value) override {
    if (place_ == Place::metadata)
      return metadata.emplace(key_, value).second || complain(concat("metadata has ", in_quotes(key_), " twice"));
    if (place_ != Place::entry || key_ != "dtype") return misplaced("a text");
    entries.back().type = value;
    return true;
  }

  bool start_object(std::size_t) override {
    if (place_ == Place::outside)
      place_ = Place::header;
    else if (place_ == Place::header)
      return start_entry();
    else
      return misplaced("an object");
    return true;
  }

  bool key(string_t& name) override {
    key_ = name;
    if (place_ != Place::entry) return true;
    const auto field = std::find(kFields.begin(), kFields.end(), name);
    if (field == kFields.end())
      return complain(concat("tensor ", in_quotes(entries.back().name), " has the unknown key ", in_quotes(name)));
    bool& seen = seen_[static_cast<std::size_t>(field - kFields.begin())];
    if (seen) return complain(concat("tensor ", in_quotes(entries.back().name), " has the key ", in_quotes(name), " twice"));
    seen = true;
    return true;
  }

  bool end_object() override {
    if (place_ == Place::entry) {
      if (!seen_[0] || !seen_[1] || !seen_[2] || num_offsets_ != 2) {
        return complain(concat("tensor ", in_quotes(entries.back().name), " lacks dtype, shape or two data_offsets"));
      }
    }
    place_ = place_ == Place::header ? Place::outside : Place::header;
    return true;
  }

  bool start_array(std::size_t) override {
    if (place_ != Place::entry || key_ == "dtype") return misplaced("a list");
    place_ = key_ == "shape" ? Place::shape : Place::offsets;
    return true;
  }

  bool end_array() override {
    place_ = Place::entry;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) override {
    return complain(concat("the header is no UTF-8 JSON (at its byte ", position, ")"));
  }

 private:
  enum class Place { outside, header, metadata, entry, shape, offsets };
  static constexpr std::array<std::string_view, 3> kFields{"dtype", "shape", "data_offsets"};

  bool start_entry() {
    if (key_ == "__metadata__") {
      place_ = Place::metadata;
      return !std::exchange(has_metadata_, true) || complain("__metadata__ is there twice");
    }
    if (entries.size() == kMaxTensors) return complain(concat("it has more than ", kMaxTensors, " tensors"));
    place_ = Place::entry;
    num_offsets_ = 0;
    seen_ = {};
    entries.emplace_back().name = key_;
    return true;
  }

  bool misplaced(const char* what) { return complain(concat(what, " where the header has none, at ", in_quotes(key_))); }
  bool complain(std::string what) {
    problem = std::move(what);
    return false;
  }

  Place place_ = Place::outside;
  std::string key_;
  std::array<bool, 3> seen_{};
  int num_offsets_ = 0;
  bool has_metadata_ = false;
};

/// Bytes of `shape` numbers of `size` bytes, or nothing if they do not fit in 63 bits. Strides must fit too, so extents of 0 do not help.
std::optional<std::uint64_t> checked_bytes(const Shape& shape, std::size_t size) {
  auto total = static_cast<std::int64_t>(size);
  bool empty = false;
  for (const std::int64_t extent : shape) {
    empty = empty || extent == 0;
    if (__builtin_mul_overflow(total, std::max<std::int64_t>(extent, 1), &total)) return std::nullopt;
  }
  return empty ? 0 : static_cast<std::uint64_t>(total);
}

/// Fills in types and sizes and checks them against the offsets. `entry.bytes` holds the end offset so far.
void check_entry(const std::filesystem::path& path, SafetensorsEntry& entry, std::uint64_t expected_offset) {
  const auto type =
      std::find_if(kSafetensorsTypes.begin(), kSafetensorsTypes.end(), [&](const auto& row) { return row.name == entry.type; });
  if (type == kSafetensorsTypes.end())
    reject(path, concat("tensor ", in_quotes(entry.name), " has the unknown dtype ", in_quotes(entry.type)));
  entry.dtype = type->dtype;
  const std::uint64_t end = entry.bytes;
  if (entry.offset != expected_offset || end < entry.offset) {
    reject(path, concat("tensor ", in_quotes(entry.name), " lies at bytes ", entry.offset, " to ", end, " where ", expected_offset,
                        " should be its first (overlap or hole)"));
  }
  const auto bytes = checked_bytes(entry.shape, type->bytes);
  if (!bytes) reject(path, concat("the shape of tensor ", in_quotes(entry.name), " has more than 2^63 bytes"));
  entry.bytes = end - entry.offset;
  if (*bytes != entry.bytes) {
    reject(path, concat("tensor ", in_quotes(entry.name), " of type ", entry.type, " needs ", *bytes, " bytes and has ", entry.bytes));
  }
}

}  // namespace

SafetensorsReader::SafetensorsReader(const std::filesystem::path& path) : path_(path), file_(MappedFile::open(path)) {
  const auto bytes = file_->bytes();
  std::uint64_t header_bytes = 0;
  if (bytes.size() < sizeof header_bytes) reject(path, concat("it has only ", bytes.size(), " bytes"));
  std::memcpy(&header_bytes, bytes.data(), sizeof header_bytes);
  if (header_bytes > kMaxHeaderBytes || header_bytes > bytes.size() - sizeof header_bytes) {
    reject(path, concat("its header claims ", header_bytes, " bytes; the file has ", bytes.size(), ", and at most ", kMaxHeaderBytes,
                        " are read"));
  }
  const char* text = reinterpret_cast<const char*>(bytes.data()) + sizeof header_bytes;
  if (header_bytes == 0 || text[0] != '{') reject(path, "its header does not begin with {");
  HeaderParser parser;
  if (!nlohmann::json::sax_parse(text, text + header_bytes, &parser)) reject(path, parser.problem);
  metadata_ = std::move(parser.metadata);
  entries_ = std::move(parser.entries);
  data_start_ = sizeof header_bytes + header_bytes;

  // Empty tensors share their offset with the next one, so they sort before it.
  std::sort(entries_.begin(), entries_.end(),
            [](const auto& a, const auto& b) { return std::tie(a.offset, a.bytes, a.name) < std::tie(b.offset, b.bytes, b.name); });
  std::uint64_t end = 0;
  for (auto& entry : entries_) {
    check_entry(path, entry, end);
    end += entry.bytes;
    if (!index_.emplace(entry.name, index_.size()).second) reject(path, concat("tensor ", in_quotes(entry.name), " is there twice"));
  }
  if (end != bytes.size() - data_start_) {
    reject(path, concat("its tensors end at byte ", end, " of the data, the file at byte ", bytes.size() - data_start_));
  }
}

const SafetensorsEntry* SafetensorsReader::find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &entries_[found->second];
}

Tensor SafetensorsReader::tensor(std::string_view name) const {
  const SafetensorsEntry* entry = find(name);
  if (entry == nullptr)
    throw CheckpointError(concat(path_.string(), ": has no tensor \"", name, "\"; it has ", entries_.size(), " others"));
  if (!entry->dtype) {
    throw CheckpointError(concat(path_.string(), ": tensor \"", name, "\" has numbers of type ", entry->type,
                                 ", which Trident does not compute with; convert it to F32 first"));
  }
  const std::byte* data = file_->bytes().data() + data_start_ + entry->offset;
  if (entry->dtype == DType::boolean && std::any_of(data, data + entry->bytes, [](std::byte b) { return b > std::byte{1}; })) {
    throw CheckpointError(concat(path_.string(), ": tensor \"", name, "\" is BOOL but has bytes other than 0 and 1; the file is damaged"));
  }
  if (reinterpret_cast<std::uintptr_t>(data) % std::min<std::size_t>(size_of(*entry->dtype), 8) == 0) {
    return from_memory(const_cast<std::byte*>(data), entry->shape, *entry->dtype, file_);
  }
  const Tensor aligned = empty(entry->shape, *entry->dtype);
  std::memcpy(aligned.bytes(), data, entry->bytes);
  return aligned;
}

}  // namespace trident
