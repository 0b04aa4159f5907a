#include "checkpoint/pickle_reader.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "checkpoint/pickle_opcodes.h"
#include "runtime/error.h"

namespace trident {

using namespace pickle_opcodes;

namespace {

constexpr std::size_t kMaxValues = 2'000'000;
constexpr std::size_t kMaxCopiedBytes = std::size_t{64} << 20;  // of texts and lists that are recalled, again and again
constexpr std::string_view kOrderedDict = "collections.OrderedDict";

}  // namespace

const PickleValue* PickleValue::find(std::string_view key) const {
  if (kind != Kind::dict) return nullptr;
  const PickleValue* found = nullptr;
  for (std::size_t i = 0; i < elements.size(); i += 2) {
    if (elements[i]->kind == Kind::text && elements[i]->text == key) found = elements[i + 1];  // the last one counts, as in Python
  }
  return found;
}

PickleReader::PickleReader(std::span<const std::byte> bytes, std::string where) : bytes_(bytes), where_(std::move(where)) {
  if (number<std::uint8_t>() != kProto) reject("it does not begin with a protocol of 2 or later");
  if (const int protocol = number<std::uint8_t>(); protocol < 2 || protocol > 5) reject(concat("protocol ", protocol, " is not 2 to 5"));
  for (std::uint8_t code = number<std::uint8_t>(); code != kStop; code = number<std::uint8_t>()) {
    if (!step_scalar(code) && !step_text(code) && !step_tuple(code) && !step_container(code) && !step_memo(code) && !step_object(code)) {
      reject(concat("opcode ", static_cast<int>(code), " at byte ", position_ - 1, " is not one that tensors need"));
    }
  }
  root_ = pop();
}

void PickleReader::reject(const std::string& what) const {
  throw CheckpointError(
      concat(where_, ": its pickle is refused: ", what, "; save it again as safetensors, or with torch.save of plain tensors"));
}

template <class T>
T PickleReader::number() {
  if (bytes_.size() - position_ < sizeof(T)) reject("it is truncated");
  T value;
  std::memcpy(&value, bytes_.data() + position_, sizeof value);
  position_ += sizeof value;
  return value;
}

std::string PickleReader::text(std::uint64_t bytes) {
  if (bytes_.size() - position_ < bytes) reject("it is truncated");
  std::string result(reinterpret_cast<const char*>(bytes_.data()) + position_, bytes);
  position_ += bytes;
  return result;
}

std::string PickleReader::line() {
  const auto begin = bytes_.begin() + static_cast<std::ptrdiff_t>(position_);
  const auto end = std::find(begin, bytes_.end(), std::byte{'\n'});
  if (end == bytes_.end()) reject("it is truncated");
  std::string result = text(static_cast<std::uint64_t>(end - begin));
  ++position_;
  return result;
}

PickleValue* PickleReader::make(PickleValue::Kind kind) {
  if (values_.size() == kMaxValues) reject(concat("it has more than ", kMaxValues, " values"));
  PickleValue& value = values_.emplace_back();
  value.kind = kind;
  return &value;
}

void PickleReader::charge(std::size_t bytes) {
  copied_bytes_ += bytes;
  if (copied_bytes_ > kMaxCopiedBytes) reject(concat("its values, repeated, need more than ", kMaxCopiedBytes, " bytes"));
}

void PickleReader::push_integer(std::int64_t value) {
  push(make(PickleValue::Kind::integer));
  stack_.back()->integer = value;
}

void PickleReader::push_text(std::string value) {
  push(make(PickleValue::Kind::text));
  stack_.back()->text = std::move(value);
}

PickleValue* PickleReader::top() {
  // What lies below a mark belongs to an object that is not finished.
  if (stack_.size() <= (marks_.empty() ? 0 : marks_.back())) reject("it takes more values than it has");
  return stack_.back();
}

PickleValue* PickleReader::pop() {
  PickleValue* value = top();
  stack_.pop_back();
  return value;
}

std::vector<PickleValue*> PickleReader::pop_to_mark() {
  if (marks_.empty()) reject("it has no mark where it needs one");
  const auto begin = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
  std::vector<PickleValue*> values(begin, stack_.end());
  stack_.erase(begin, stack_.end());
  marks_.pop_back();
  return values;
}

bool PickleReader::step_scalar(std::uint8_t code) {
  switch (code) {
    case kNone:
      push(make(PickleValue::Kind::none));
      return true;
    case kNewTrue:
    case kNewFalse:
      push_integer(code == kNewTrue ? 1 : 0);
      stack_.back()->kind = PickleValue::Kind::boolean;
      return true;
    case kBinInt:
      push_integer(number<std::int32_t>());
      return true;
    case kBinInt1:
      push_integer(number<std::uint8_t>());
      return true;
    case kBinInt2:
      push_integer(number<std::uint16_t>());
      return true;
    case kLong1:
      push_long(number<std::uint8_t>());
      return true;
    case kLong4:
      push_long(number<std::uint32_t>());
      return true;
    case kBinFloat:
      push(make(PickleValue::Kind::number));
      stack_.back()->number = std::bit_cast<double>(__builtin_bswap64(number<std::uint64_t>()));  // big-endian, unlike the rest
      return true;
    default:
      return false;
  }
}

bool PickleReader::step_text(std::uint8_t code) {
  switch (code) {
    case kBinUnicode:
    case kBinString:
    case kBinBytes:
      push_text(text(number<std::uint32_t>()));
      return true;
    case kShortBinUnicode:
    case kShortBinString:
    case kShortBinBytes:
      push_text(text(number<std::uint8_t>()));
      return true;
    case kBinUnicode8:
    case kBinBytes8:
    case kByteArray8:
      push_text(text(number<std::uint64_t>()));
      return true;
    default:
      return false;
  }
}

void PickleReader::push_long(std::uint64_t length) {
  const std::string bytes = text(length);
  if (bytes.size() > sizeof(std::int64_t)) reject("an integer has more than 64 bits");
  std::uint64_t value = !bytes.empty() && (bytes.back() & 0x80) != 0 ? ~std::uint64_t{0} : 0;  // two's complement of any length
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    value &= ~(std::uint64_t{0xFF} << (8 * i));
    value |= static_cast<std::uint64_t>(static_cast<std::uint8_t>(bytes[i])) << (8 * i);
  }
  push_integer(static_cast<std::int64_t>(value));
}

bool PickleReader::step_tuple(std::uint8_t code) {
  switch (code) {
    case kEmptyTuple:
      push(make(PickleValue::Kind::tuple));
      return true;
    case kTuple1:
      push_tuple(1);
      return true;
    case kTuple2:
      push_tuple(2);
      return true;
    case kTuple3:
      push_tuple(3);
      return true;
    case kTuple:
    case kFrozenSet: {
      auto values = pop_to_mark();
      push(make(PickleValue::Kind::tuple));
      stack_.back()->elements = std::move(values);
      return true;
    }
    default:
      return false;
  }
}

bool PickleReader::step_container(std::uint8_t code) {
  switch (code) {
    case kMark:
      marks_.push_back(stack_.size());
      return true;
    case kPop:
      pop();
      return true;
    case kPopMark:
      pop_to_mark();
      return true;
    case kDup:
      push(top());
      return true;
    case kEmptyList:
    case kEmptySet:
      push(make(PickleValue::Kind::list));
      return true;
    case kEmptyDict:
      push(make(PickleValue::Kind::dict));
      return true;
    case kAppend:
      add_to_list({pop()});
      return true;
    case kAppends:
    case kAddItems:
      add_to_list(pop_to_mark());
      return true;
    case kSetItem: {
      PickleValue* value = pop();
      PickleValue* key = pop();
      add_to_dict({key, value});
      return true;
    }
    case kSetItems:
      add_to_dict(pop_to_mark());
      return true;
    default:
      return false;
  }
}

void PickleReader::push_tuple(std::size_t size) {
  std::vector<PickleValue*> values(size);
  for (std::size_t i = size; i-- > 0;) values[i] = pop();
  push(make(PickleValue::Kind::tuple));
  stack_.back()->elements = std::move(values);
}

void PickleReader::add_to_list(const std::vector<PickleValue*>& values) {
  PickleValue* list = top();
  if (list->kind == PickleValue::Kind::call) return;
  if (list->kind != PickleValue::Kind::list) reject("it appends to what is no list");
  list->elements.insert(list->elements.end(), values.begin(), values.end());
}

void PickleReader::add_to_dict(const std::vector<PickleValue*>& pairs) {
  PickleValue* dict = top();
  if (dict->kind == PickleValue::Kind::call) return;
  if (dict->kind != PickleValue::Kind::dict || pairs.size() % 2 != 0) reject("it sets items of what is no dict");
  dict->elements.insert(dict->elements.end(), pairs.begin(), pairs.end());
}

bool PickleReader::step_memo(std::uint8_t code) {
  switch (code) {
    case kBinPut:
      remember(number<std::uint8_t>());
      return true;
    case kLongBinPut:
      remember(number<std::uint32_t>());
      return true;
    case kMemoize:
      remember(memo_.size());
      return true;
    case kBinGet:
      recall(number<std::uint8_t>());
      return true;
    case kLongBinGet:
      recall(number<std::uint32_t>());
      return true;
    default:
      return false;
  }
}

void PickleReader::remember(std::uint64_t index) { memo_[index] = top(); }

void PickleReader::recall(std::uint64_t index) {
  const auto found = memo_.find(index);
  if (found == memo_.end()) reject(concat("it recalls value ", index, ", which it has not remembered"));
  push(found->second);
}

bool PickleReader::step_object(std::uint8_t code) {
  switch (code) {
    case kGlobal: {
      const std::string module = line();
      push_global(module, line());
      return true;
    }
    case kStackGlobal: {
      const PickleValue* name = pop();
      const PickleValue* module = pop();
      if (name->kind != PickleValue::Kind::text || module->kind != PickleValue::Kind::text) reject("the name of a global is no text");
      push_global(module->text, name->text);
      return true;
    }
    case kReduce:
    case kNewObject: {
      const PickleValue* arguments = pop();
      call(pop(), arguments);
      return true;
    }
    case kNewObjectEx: {
      pop();  // keyword arguments
      const PickleValue* arguments = pop();
      call(pop(), arguments);
      return true;
    }
    case kBuild:
      build();
      return true;
    case kBinPersId: {
      PickleValue* id = pop();
      push(make(PickleValue::Kind::persistent));
      stack_.back()->elements = {id};
      return true;
    }
    case kFrame:
      number<std::uint64_t>();
      return true;  // says how much a stream should buffer
    default:
      return false;
  }
}

void PickleReader::push_global(const std::string& module, const std::string& name) {
  const std::string full = module + "." + name;
  charge(full.size());
  if (full != kOrderedDict) globals_.push_back(full);
  push(make(PickleValue::Kind::global));
  stack_.back()->text = full;
}

void PickleReader::call(const PickleValue* function, const PickleValue* arguments) {
  if (function->kind != PickleValue::Kind::global || arguments->kind != PickleValue::Kind::tuple) reject("it calls what is no function");
  if (function->text != kOrderedDict) {
    charge(function->text.size() + arguments->elements.size() * sizeof(PickleValue*));
    push(make(PickleValue::Kind::call));
    stack_.back()->text = function->text;
    stack_.back()->elements = arguments->elements;
    return;
  }
  push(make(PickleValue::Kind::dict));
  if (arguments->elements.empty()) return;
  for (const PickleValue* pair : arguments->elements[0]->elements) {  // Python 2 hands the items over as a list of pairs
    if (pair->elements.size() != 2) reject("an OrderedDict is made of what are no pairs");
    charge(2 * sizeof(PickleValue*));
    add_to_dict(pair->elements);
  }
}

void PickleReader::build() {
  pop();  // attributes of a dict, such as the versions that PyTorch puts there, or of an object: no tensors
  if (top()->kind != PickleValue::Kind::dict && top()->kind != PickleValue::Kind::call) reject("it sets attributes of what is no object");
}

}  // namespace trident
