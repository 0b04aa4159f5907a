/// Walks Python pickles without executing anything: what a pickle would call is data here.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace trident {

/// A value of a pickle.
struct PickleValue {
  enum class Kind { none, boolean, integer, number, text, tuple, list, dict, global, call, persistent };
  Kind kind = Kind::none;
  std::int64_t integer = 0;  // boolean: 0 or 1
  double number = 0.0;
  std::string text;                    // text, bytes; global and call: "module.name"
  std::vector<PickleValue*> elements;  // tuple, list, call: arguments; persistent: its id; dict: key, value, key, value, ...

  /// The value of a text key of a dict; null if there is none, or this is no dict.
  const PickleValue* find(std::string_view key) const;
};

/// One pickle of protocol 2 to 5, of the opcodes that state dicts and the objects beside them need. collections.OrderedDict is a dict; of
/// any other object only its global and the arguments of its construction are kept, as a `call`: its attributes and items are dropped.
class PickleReader {
 public:
  /// Throws CheckpointError that begins with `where` and names the opcode that is refused.
  PickleReader(std::span<const std::byte> bytes, std::string where);

  const PickleValue& root() const { return *root_; }
  /// Names of all globals besides collections.OrderedDict, in order.
  const std::vector<std::string>& globals() const { return globals_; }

 private:
  [[noreturn]] void reject(const std::string& what) const;
  template <class T>
  T number();
  std::string text(std::uint64_t bytes);
  std::string line();

  PickleValue* make(PickleValue::Kind kind);
  /// Before as many bytes are copied from other values: a few bytes of a pickle can ask for that a million times.
  void charge(std::size_t bytes);
  void push(PickleValue* value) { stack_.push_back(value); }
  void push_integer(std::int64_t value);
  void push_text(std::string value);
  PickleValue* pop();
  PickleValue* top();
  std::vector<PickleValue*> pop_to_mark();

  // Each executes `code` if it is one of its own and says whether it was.
  bool step_scalar(std::uint8_t code);
  bool step_text(std::uint8_t code);
  bool step_tuple(std::uint8_t code);
  bool step_container(std::uint8_t code);
  bool step_memo(std::uint8_t code);
  bool step_object(std::uint8_t code);

  void push_tuple(std::size_t size);
  void push_long(std::uint64_t length);
  void push_global(const std::string& module, const std::string& name);
  void add_to_dict(const std::vector<PickleValue*>& pairs);
  void add_to_list(const std::vector<PickleValue*>& values);
  void remember(std::uint64_t index);
  void recall(std::uint64_t index);
  void call(const PickleValue* function, const PickleValue* arguments);
  void build();

  std::span<const std::byte> bytes_;
  std::size_t position_ = 0, copied_bytes_ = 0;
  std::string where_;
  std::vector<std::string> globals_;
  std::deque<PickleValue> values_;  // owns them all: pickles may share and nest values in circles
  std::vector<PickleValue*> stack_;
  std::vector<std::size_t> marks_;
  std::unordered_map<std::uint64_t, PickleValue*> memo_;
  PickleValue* root_ = nullptr;
};

}  // namespace trident
