#include "checkpoint/torch_writer.h"

#include <bit>
#include <map>
#include <set>

#include "checkpoint/atomic_file.h"
#include "checkpoint/pickle_opcodes.h"
#include "checkpoint/zip_writer.h"
#include "runtime/error.h"
#include "runtime/tensor/copy.h"

namespace trident {

using namespace pickle_opcodes;

namespace {

static_assert(std::endian::native == std::endian::little, "archives say that they are little-endian");

constexpr std::uint64_t kAlignment = 64;  // of storages, as PyTorch's own

const char* storage_type(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "FloatStorage";
    case DType::f64:
      return "DoubleStorage";
    case DType::f16:
      return "HalfStorage";
    case DType::bf16:
      return "BFloat16Storage";
    case DType::i64:
      return "LongStorage";
    case DType::i32:
      return "IntStorage";
    case DType::boolean:
      return "BoolStorage";
    case DType::c64:
      return "ComplexFloatStorage";
    case DType::c128:
      return "ComplexDoubleStorage";
  }
  return "";
}

/// A pickle of protocol 2, built value by value. Nothing is memoised: readers do not ask for it.
class PickleWriter {
 public:
  void opcode(Opcode code) { bytes_ += static_cast<char>(code); }
  void boolean(bool value) { opcode(value ? kNewTrue : kNewFalse); }
  void integer(std::int64_t value) {
    opcode(kLong1);
    bytes_ += static_cast<char>(sizeof value);
    append(value);
  }
  void number(double value) {
    opcode(kBinFloat);
    append(__builtin_bswap64(std::bit_cast<std::uint64_t>(value)));  // big-endian, unlike the rest
  }
  void text(std::string_view value) {
    opcode(kBinUnicode);
    append(static_cast<std::uint32_t>(value.size()));
    bytes_ += value;
  }
  void global(std::string_view module, std::string_view name) {
    opcode(kGlobal);
    bytes_ += concat(module, '\n', name, '\n');
  }
  void ordered_dict() {
    global("collections", "OrderedDict");
    opcode(kEmptyTuple);
    opcode(kReduce);
  }
  void integers(const Shape& values) {
    opcode(kMark);
    for (const std::int64_t value : values) integer(value);
    opcode(kTuple);
  }
  void values(const ConfigValue& value);
  void tensor(const LateTensor& tensor, const std::string& key);

  std::string finish() && { return concat(static_cast<char>(kProto), '\2', bytes_, static_cast<char>(kStop)); }

 private:
  template <class T>
  void append(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  std::string bytes_;
};

void PickleWriter::values(const ConfigValue& value) {
  switch (value.kind()) {
    case ConfigValue::Kind::null:
      return opcode(kNone);
    case ConfigValue::Kind::boolean:
      return boolean(value.as_bool());
    case ConfigValue::Kind::integer:
      return integer(value.as_integer());
    case ConfigValue::Kind::number:
      return number(value.as_number());
    case ConfigValue::Kind::string:
      return text(value.as_string());
    case ConfigValue::Kind::list:
      opcode(kEmptyList);  // no tuple: neuraloperator passes over a domain_padding that is one
      opcode(kMark);
      for (const ConfigValue& element : value.elements()) values(element);
      return opcode(kAppends);
    case ConfigValue::Kind::map:
      opcode(kEmptyDict);
      opcode(kMark);
      for (const auto& [key, element] : value.entries()) {
        text(key);
        values(element);
      }
      return opcode(kSetItems);
  }
}

/// A tensor without gaps on a storage of its own.
void PickleWriter::tensor(const LateTensor& tensor, const std::string& key) {
  global("torch._utils", "_rebuild_tensor_v2");
  opcode(kMark);
  opcode(kMark);
  text("storage");
  global("torch", storage_type(tensor.dtype));
  text(key);
  text("cpu");
  integer(numel(tensor.shape));
  opcode(kTuple);
  opcode(kBinPersId);  // the storage of that description
  integer(0);
  integers(tensor.shape);
  integers(contiguous_strides(tensor.shape));
  boolean(false);  // wants no gradient
  ordered_dict();  // hooks
  opcode(kTuple);
  opcode(kReduce);
}

/// The modules above the names, with the versions of PyTorch's classes: those with running statistics have 2, others 1.
std::map<std::string, int> module_versions(const std::vector<LateTensor>& tensors) {
  std::map<std::string, int> versions{{"", 1}};
  for (const LateTensor& tensor : tensors) {
    for (std::size_t dot = tensor.name.find('.'); dot != std::string::npos; dot = tensor.name.find('.', dot + 1)) {
      int& version = versions[tensor.name.substr(0, dot)];
      version = std::max(version, tensor.name.substr(dot) == ".running_mean" ? 2 : 1);
    }
  }
  return versions;
}

void add_versions(PickleWriter& pickle, const std::vector<LateTensor>& tensors) {
  pickle.opcode(kEmptyDict);
  pickle.opcode(kMark);
  pickle.text("_metadata");
  pickle.ordered_dict();
  pickle.opcode(kMark);
  for (const auto& [module, version] : module_versions(tensors)) {
    pickle.text(module);
    pickle.values(ConfigValue::map({{"version", version}}));
  }
  pickle.opcode(kSetItems);
  pickle.opcode(kSetItems);
  pickle.opcode(kBuild);
}

/// The archive's folder is the file's name without its ending, as PyTorch's is.
void write_archive(const std::filesystem::path& path, const std::string& pickle, const std::vector<LateTensor>& tensors) {
  const std::string folder = path.stem().string() + "/";
  AtomicFile file(path);
  ZipWriter archive(file, kAlignment);
  archive.add(folder + "data.pkl", pickle);
  archive.add(folder + "byteorder", "little");
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const Tensor values = packed(tensors[i].make());
    archive.add(folder + "data/" + std::to_string(i),
                std::span<const std::byte>(values.bytes(), static_cast<std::size_t>(values.num_bytes())));
  }
  archive.add(folder + "version", "3\n");
  archive.finish();
  file.commit();
}

}  // namespace

void write_state_dict(const std::filesystem::path& path, const std::vector<LateTensor>& tensors, const ConfigValue& arguments) {
  PickleWriter pickle;
  pickle.ordered_dict();
  pickle.opcode(kMark);
  std::set<std::string_view> names{"_metadata"};
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (!names.insert(tensors[i].name).second) {
      throw CheckpointError(concat(path.string(), ": two tensors are named \"", tensors[i].name, "\"; names must be unique"));
    }
    pickle.text(tensors[i].name);
    pickle.tensor(tensors[i], std::to_string(i));
  }
  if (arguments.kind() == ConfigValue::Kind::map) {
    pickle.text("_metadata");
    pickle.values(arguments);
  }
  pickle.opcode(kSetItems);
  add_versions(pickle, tensors);
  write_archive(path, std::move(pickle).finish(), tensors);
}

void write_state_dict(const std::filesystem::path& path, const std::vector<NamedTensor>& tensors, const ConfigValue& arguments) {
  write_state_dict(path, late(tensors), arguments);
}

void write_pickled_values(const std::filesystem::path& path, const ConfigValue& values) {
  PickleWriter pickle;
  pickle.values(values);
  write_archive(path, std::move(pickle).finish(), {});
}

}  // namespace trident
