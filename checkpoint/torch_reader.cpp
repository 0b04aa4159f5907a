#include "checkpoint/torch_reader.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "checkpoint/pickle_reader.h"
#include "checkpoint/pickled_values.h"
#include "runtime/error.h"

namespace trident {
namespace {

constexpr std::size_t kMaxVisited = 500'000;
constexpr std::size_t kLongName = 64;  // bytes that cost as much as a value: one long key may stand before many tensors
constexpr int kMaxDepth = 16;

constexpr std::string_view kRebuildTensor = "torch._utils._rebuild_tensor_v2";
constexpr std::string_view kRebuildParameter = "torch._utils._rebuild_parameter";
constexpr std::string_view kSize = "torch.Size";
constexpr std::string_view kArguments = "_metadata";

struct StorageType {
  std::string_view name;  // in module torch
  std::size_t bytes;
  std::optional<DType> dtype;  // empty: Trident cannot hold it
};

constexpr std::array<StorageType, 12> kStorageTypes{{{"torch.FloatStorage", 4, DType::f32},
                                                     {"torch.DoubleStorage", 8, DType::f64},
                                                     {"torch.HalfStorage", 2, DType::f16},
                                                     {"torch.BFloat16Storage", 2, DType::bf16},
                                                     {"torch.LongStorage", 8, DType::i64},
                                                     {"torch.IntStorage", 4, DType::i32},
                                                     {"torch.BoolStorage", 1, DType::boolean},
                                                     {"torch.ComplexFloatStorage", 8, DType::c64},
                                                     {"torch.ComplexDoubleStorage", 16, DType::c128},
                                                     {"torch.ByteStorage", 1, {}},
                                                     {"torch.CharStorage", 1, {}},
                                                     {"torch.ShortStorage", 2, {}}}};

constexpr auto kAllowed = [] {
  std::array<std::string_view, kStorageTypes.size() + 3> names{kRebuildTensor, kRebuildParameter, kSize};
  for (std::size_t i = 0; i < kStorageTypes.size(); ++i) names[i + 3] = kStorageTypes[i].name;
  return names;
}();

bool is_allowed(std::string_view global) { return std::find(kAllowed.begin(), kAllowed.end(), global) != kAllowed.end(); }

bool is_call(const PickleValue& value, std::string_view function) {
  return value.kind == PickleValue::Kind::call && value.text == function;
}

/// Non-negative integers of a tuple, list or torch.Size; nothing if it is none.
std::optional<Shape> extents_of(const PickleValue& value) {
  const PickleValue* list = &value;
  if (is_call(value, kSize) && value.elements.size() == 1) list = value.elements[0];
  if (list->kind != PickleValue::Kind::tuple && list->kind != PickleValue::Kind::list) return std::nullopt;
  if (list->elements.size() > static_cast<std::size_t>(Shape::kMaxRank)) return std::nullopt;
  Shape shape;
  for (const PickleValue* element : list->elements) {
    if (element->kind != PickleValue::Kind::integer || element->integer < 0) return std::nullopt;
    shape.push_back(element->integer);
  }
  return shape;
}

/// Elements of the storage up to the last one that the view reaches, or nothing if that or the number of elements does not fit in 63 bits.
std::optional<std::int64_t> reach_of(const TorchEntry& entry) {
  std::int64_t count = 1, last = entry.offset;
  bool empty = false;
  for (int dim = 0; dim < entry.shape.rank(); ++dim) {
    const std::int64_t extent = entry.shape[dim];
    std::int64_t step = 0;
    empty = empty || extent == 0;
    if (__builtin_mul_overflow(count, std::max<std::int64_t>(extent, 1), &count)) return std::nullopt;
    if (__builtin_mul_overflow(std::max<std::int64_t>(extent - 1, 0), entry.strides[dim], &step)) return std::nullopt;
    if (__builtin_add_overflow(last, step, &last)) return std::nullopt;
  }
  if (empty) return entry.offset;
  return __builtin_add_overflow(last, 1, &last) ? std::nullopt : std::optional(last);
}

}  // namespace

TorchReader::TorchReader(const std::filesystem::path& path) : path_(path), archive_(path) {
  const ZipData data = archive_.pickle();
  const PickleReader reader(data.bytes, path_.string());
  // neuraloperator keeps the arguments of the model beside its tensors, whatever objects they are. Other files have no reason for objects.
  if (reader.root().find(kArguments) == nullptr) {
    for (const std::string& name : reader.globals()) {
      if (!is_allowed(name)) reject_object(name);
    }
  }
  collect("", reader.root(), 0);
  values_ = plain_values(reader.root(), path_.string());
}

void TorchReader::reject_object(const std::string& name) const {
  throw CheckpointError(
      concat(path_.string(), ": its pickle is refused: it wants the Python object \"", name.substr(0, 200),
             "\", which is not one that tensors need; save it again as safetensors, or with torch.save of plain tensors"));
}

void TorchReader::reject(const std::string& what) const {
  throw CheckpointError(concat(path_.string(), ": cannot be read as tensors of torch.save: ", what, "; fetch or save it again"));
}

void TorchReader::collect(const std::string& name, const PickleValue& value, int depth) {
  num_visited_ += 1 + name.size() / kLongName;
  if (depth > kMaxDepth || num_visited_ > kMaxVisited) reject("its values are nested without end");
  const auto child = [&](const std::string& key) { return name.empty() ? key : name + "." + key; };
  if (is_call(value, kRebuildTensor)) return add_tensor(name, value);
  if (is_call(value, kRebuildParameter)) {
    if (value.elements.empty()) reject(concat("parameter \"", name, "\" has no tensor"));
    return collect(name, *value.elements[0], depth + 1);
  }
  if (value.kind == PickleValue::Kind::dict) {
    for (std::size_t i = 0; i < value.elements.size(); i += 2) {
      const PickleValue& key = *value.elements[i];
      const bool is_text = key.kind == PickleValue::Kind::text;
      if (depth == 0 && is_text && key.text == kArguments) continue;
      if (!is_text && key.kind != PickleValue::Kind::integer) reject(concat("a key in \"", name, "\" is neither text nor integer"));
      collect(child(is_text ? key.text : std::to_string(key.integer)), *value.elements[i + 1], depth + 1);
    }
  } else if (value.kind == PickleValue::Kind::list || value.kind == PickleValue::Kind::tuple) {
    for (std::size_t i = 0; i < value.elements.size(); ++i) collect(child(std::to_string(i)), *value.elements[i], depth + 1);
  } else if ((value.kind == PickleValue::Kind::global || value.kind == PickleValue::Kind::call) && !is_allowed(value.text)) {
    reject_object(value.text);
  }
}

/// _rebuild_tensor_v2(('storage', type, key, device, elements), offset, size, strides, requires_grad, hooks)
void TorchReader::add_tensor(const std::string& name, const PickleValue& call) {
  using Kind = PickleValue::Kind;
  const auto& arguments = call.elements;
  if (arguments.size() < 4 || arguments[0]->kind != Kind::persistent || arguments[1]->kind != Kind::integer) {
    reject(concat("tensor \"", name, "\" is not described as PyTorch does"));
  }
  if (arguments.size() > 6 && !arguments[6]->elements.empty()) {
    reject(concat("tensor \"", name, "\" is marked as conjugate or negative; call resolve_conj() and resolve_neg() before saving"));
  }
  const auto& id = arguments[0]->elements[0]->elements;
  const auto has = [&](std::size_t i, Kind kind) { return id[i]->kind == kind; };
  if (id.size() != 5 || !has(0, Kind::text) || id[0]->text != "storage" || !has(1, Kind::global) || !has(2, Kind::text) ||
      id[2]->text.size() > kLongName || !has(4, Kind::integer)) {
    reject(concat("the storage of tensor \"", name, "\" is not described as PyTorch does"));
  }
  const auto type = std::find_if(kStorageTypes.begin(), kStorageTypes.end(), [&](const auto& row) { return row.name == id[1]->text; });
  if (type == kStorageTypes.end()) reject(concat("tensor \"", name, "\" has a storage of type \"", id[1]->text, '"'));
  const auto shape = extents_of(*arguments[2]), strides = extents_of(*arguments[3]);
  if (!shape || !strides || shape->rank() != strides->rank() || arguments[1]->integer < 0) {
    reject(concat("tensor \"", name, "\" has a shape, strides or offset that no tensor has (up to 8 dimensions)"));
  }
  TorchEntry entry{name,       std::string(type->name.substr(std::strlen("torch."))), type->dtype, *shape, *strides, arguments[1]->integer,
                   id[2]->text};
  const ZipEntry* data = archive_.storage(entry.storage);
  if (data == nullptr) reject(concat("storage \"", entry.storage, "\" of tensor \"", name, "\" is missing"));
  if (data->bytes % type->bytes != 0 || std::cmp_not_equal(data->bytes / type->bytes, id[4]->integer)) {
    reject(
        concat("storage \"", entry.storage, "\" has ", data->bytes, " bytes, not those of ", id[4]->integer, " elements of ", entry.type));
  }
  const auto reach = reach_of(entry);
  if (!reach || *reach > id[4]->integer) {
    reject(concat("tensor \"", name, "\" reaches beyond its storage of ", id[4]->integer, " elements"));
  }
  if (!index_.emplace(name, entries_.size()).second) reject(concat("tensor \"", name, "\" is there twice"));
  entries_.push_back(std::move(entry));
}

const TorchEntry* TorchReader::find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &entries_[found->second];
}

Tensor TorchReader::tensor(std::string_view name) {
  const TorchEntry* entry = find(name);
  if (entry == nullptr)
    throw CheckpointError(concat(path_.string(), ": has no tensor \"", name, "\"; it has ", entries_.size(), " others"));
  if (!entry->dtype) {
    throw CheckpointError(concat(path_.string(), ": tensor \"", name, "\" has a ", entry->type,
                                 ", which Trident does not compute with; convert it to float first"));
  }
  return Tensor(storage(*entry), entry->offset, entry->shape, entry->strides, *entry->dtype);
}

std::shared_ptr<Storage> TorchReader::storage(const TorchEntry& entry) {
  // One key read as two types would be two storages of PyTorch.
  std::shared_ptr<Storage>& storage = storages_[entry.storage + ":" + entry.type];
  if (storage) return storage;
  const ZipData data = archive_.read(*archive_.storage(entry.storage));
  if (entry.dtype == DType::boolean && std::any_of(data.bytes.begin(), data.bytes.end(), [](std::byte b) { return b > std::byte{1}; })) {
    reject(concat("tensor \"", entry.name, "\" is boolean but has bytes other than 0 and 1"));
  }
  storage = std::make_shared<Storage>();
  storage->bytes = data.bytes.size();
  if (reinterpret_cast<std::uintptr_t>(data.bytes.data()) % std::min<std::size_t>(size_of(*entry.dtype), 8) == 0) {
    storage->data = const_cast<std::byte*>(data.bytes.data());
    storage->owner = data.owner;
  } else {
    storage->block = Block(data.bytes.size(), {});
    storage->data = static_cast<std::byte*>(storage->block.data());
    if (!data.bytes.empty()) std::memcpy(storage->data, data.bytes.data(), data.bytes.size());
  }
  return storage;
}

}  // namespace trident
