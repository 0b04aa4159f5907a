#include "checkpoint/pickled_values.h"

#include "checkpoint/mapped_file.h"
#include "checkpoint/pickle_reader.h"
#include "checkpoint/torch_archive.h"
#include "runtime/error.h"

namespace trident {
namespace {

constexpr std::size_t kMaxVisited = 500'000;
constexpr std::size_t kLongText = 64;  // bytes that cost as much as a value: one text may be recalled many times
constexpr int kMaxDepth = 16;

/// "gelu" of "torch._C._nn.gelu".
std::string last_name(const std::string& full) { return full.substr(full.find_last_of('.') + 1); }

bool is_tensor(const PickleValue& value) {
  return value.kind == PickleValue::Kind::call && value.text.starts_with("torch._utils._rebuild_");
}

class Converter {
 public:
  explicit Converter(const std::string& where) : where_(where) {}

  ConfigValue operator()(const PickleValue& value, int depth) {
    using Kind = PickleValue::Kind;
    num_visited_ += 1 + value.text.size() / kLongText;
    if (depth > kMaxDepth || num_visited_ > kMaxVisited) {
      throw CheckpointError(concat(where_, ": the values of its pickle are nested without end; save it again"));
    }
    switch (value.kind) {
      case Kind::none:
        return {};
      case Kind::boolean:
        return value.integer != 0;
      case Kind::integer:
        return value.integer;
      case Kind::number:
        return value.number;
      case Kind::text:
        return value.text;
      case Kind::tuple:
      case Kind::list:
        return list_of(value, depth);
      case Kind::dict:
        return map_of(value, depth);
      case Kind::global:
        return last_name(value.text);
      case Kind::call:
        if (value.text == "torch.Size" && value.elements.size() == 1) return (*this)(*value.elements[0], depth + 1);
        return is_tensor(value) ? ConfigValue() : ConfigValue(last_name(value.text) + "(...)");
      case Kind::persistent:
        return {};
    }
    return {};
  }

 private:
  ConfigValue list_of(const PickleValue& value, int depth) {
    ConfigValue list = ConfigValue::list();
    for (const PickleValue* element : value.elements) list.append((*this)(*element, depth + 1));
    return list;
  }

  ConfigValue map_of(const PickleValue& value, int depth) {
    std::vector<ConfigValue::Entry> entries;
    for (std::size_t i = 0; i + 1 < value.elements.size(); i += 2) {
      const PickleValue& key = *value.elements[i];
      if (is_tensor(*value.elements[i + 1])) continue;
      const bool is_text = key.kind == PickleValue::Kind::text;
      // neuraloperator pads by a number or a list: a model that it made with a tuple has no padding.
      const bool has_effect = key.text != "domain_padding" || value.elements[i + 1]->kind != PickleValue::Kind::tuple;
      entries.emplace_back(is_text ? key.text : std::to_string(key.integer),
                           has_effect ? (*this)(*value.elements[i + 1], depth + 1) : ConfigValue());
    }
    return ConfigValue::map(std::move(entries));
  }

  const std::string& where_;
  std::size_t num_visited_ = 0;
};

}  // namespace

ConfigValue plain_values(const PickleValue& root, const std::string& where) { return Converter(where)(root, 0); }

ConfigValue read_pickled_values(const std::filesystem::path& path) {
  const std::string where = path.string();
  if (is_zip_archive(path)) {
    const TorchArchive archive(path);
    const ZipData data = archive.pickle();
    return plain_values(PickleReader(data.bytes, where).root(), where);
  }
  const auto file = MappedFile::open(path);
  return plain_values(PickleReader(file->bytes(), where).root(), where);
}

}  // namespace trident
