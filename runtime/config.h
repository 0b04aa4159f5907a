/// Configuration: parsed documents, and structs that read and write themselves through one `visit`.
///
/// A configuration struct lists its keys once:
///     struct ScotConfig {
///       int image_size = 224;  // points per side
///       static void visit(auto& self, auto& v) { v("image_size", self.image_size); }
///     };
/// read_config<T>(document) makes one from a document; unknown keys, wrong types and lists of the wrong kind are ConfigErrors that name the
/// file, the line, the full key, what was found, what is allowed, and the nearest valid key. write_config() is its inverse.
/// Field types: bool, int, std::int64_t, std::uint64_t, double, std::string, enums, other such structs, ConfigValue (taken as it is),
/// std::optional, std::vector and std::array of these. null is accepted by std::optional and ConfigValue alone.
/// An enum needs an overload, found by argument-dependent lookup, that returns pairs of value and name:
///     inline auto config_names(Schedule) { return std::array{std::pair{Schedule::cosine, "cosine"}, std::pair{Schedule::step, "step"}}; }
#pragma once

#include <array>
#include <concepts>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "runtime/error.h"

namespace trident {

/// A parsed document, knowing the lines it came from.
class ConfigValue {
 public:
  enum class Kind { null, boolean, integer, number, string, list, map };
  using Entry = std::pair<std::string, ConfigValue>;

  ConfigValue() = default;  // null
  ConfigValue(bool value);
  ConfigValue(int value);
  ConfigValue(std::int64_t value);
  ConfigValue(std::uint64_t value);
  ConfigValue(double value);
  ConfigValue(std::string value);
  ConfigValue(const char* value);
  static ConfigValue list(std::vector<ConfigValue> elements = {});
  static ConfigValue map(std::vector<Entry> entries = {});

  Kind kind() const { return kind_; }
  bool is_null() const { return kind_ == Kind::null; }
  // Each throws ConfigError, naming file and line, if the value is of another kind; an integer is a number too.
  bool as_bool() const;
  std::int64_t as_integer() const;  // below 2^63
  double as_number() const;
  const std::string& as_string() const;
  /// Of an integer; nothing where T cannot hold it.
  template <std::integral T>
  std::optional<T> integer_in() const {
    const auto held = [](auto number) { return std::in_range<T>(number) ? std::optional(static_cast<T>(number)) : std::nullopt; };
    return is_beyond_ ? held(static_cast<std::uint64_t>(integer_)) : held(integer_);
  }
  const std::vector<ConfigValue>& elements() const;  // of a list
  const std::vector<Entry>& entries() const;         // of a map, in the order of the file
  std::vector<ConfigValue>& elements();
  /// The value of `key` in a map, or null pointer.
  const ConfigValue* find(std::string_view key) const;
  ConfigValue* find(std::string_view key);
  /// Replaces or appends.
  void set(std::string_view key, ConfigValue value);
  void append(ConfigValue element);

  /// "run.yaml:12", for messages; empty for values that were not parsed.
  std::string where() const;
  /// What was found, for messages: `"cosine"`, `12`, `a list of 3`.
  std::string described() const;

 private:
  friend class ConfigParser;
  friend void set_path(ConfigValue& document, std::string_view path, ConfigValue value);
  Kind kind_ = Kind::null;
  bool boolean_ = false;
  std::int64_t integer_ = 0;
  bool is_beyond_ = false;  // an integer from 2^63 on, whose bits integer_ has
  double number_ = 0.0;
  std::string string_;
  std::vector<ConfigValue> elements_;
  std::vector<Entry> entries_;
  std::string file_;
  int line_ = 0;
};

/// Throws ConfigError with file and line on bad syntax, duplicate keys, or nesting deeper than 64.
ConfigValue parse_yaml(std::string_view text, const std::string& file);
ConfigValue parse_json(std::string_view text, const std::string& file);
/// Numbers keep all digits (shortest form that reads back to the same double). indent 0: one line. JSON has no word for NaN and infinity:
/// they become null.
std::string to_json(const ConfigValue& value, int indent = 2);
std::string to_yaml(const ConfigValue& value);

/// The value at a full key such as "training.steps" or "data.train[0].path", or null pointer.
const ConfigValue* find_path(const ConfigValue& document, std::string_view path);
/// Replaces the value at a full key, making the maps on the way. Throws ConfigError where the path does not lead through maps and lists.
void set_path(ConfigValue& document, std::string_view path, ConfigValue value);
/// An error about the value at `path`: `run.yaml:12: training.steps: WHAT`. The line is that of the deepest part of the path that is there.
ConfigError config_error(const ConfigValue& document, std::string_view path, const std::string& what);

/// `did you mean "steps"? ` for a word that is close to one of the names, else nothing.
std::string suggestion(std::string_view word, const std::vector<std::string>& names);

template <class T>
T read_config(const ConfigValue& value, const std::string& path = "");
template <class T>
ConfigValue write_config(const T& value);

namespace config_detail {

/// `run.yaml:12: training.steps: WHAT`, thrown.
[[noreturn]] void fail(const ConfigValue& value, const std::string& path, const std::string& what);
[[noreturn]] void fail_expected(const ConfigValue& value, const std::string& path, const std::string& expected);
[[noreturn]] void fail_choice(const ConfigValue& value, const std::string& path, const std::vector<std::string>& names);
void require_known_keys(const ConfigValue& map, const std::string& path, const std::vector<std::string>& known);
std::string child_path(const std::string& path, std::string_view key);

/// The `visit` argument that fills a struct from a map.
class Reader {
 public:
  Reader(const ConfigValue& map, const std::string& path) : map_(map), path_(path) {}
  template <class T>
  void operator()(std::string_view key, T& field) {
    known_.emplace_back(key);
    if (const ConfigValue* value = map_.find(key)) field = read_config<T>(*value, child_path(path_, key));
  }
  const std::vector<std::string>& known() const { return known_; }

 private:
  const ConfigValue& map_;
  const std::string& path_;
  std::vector<std::string> known_;
};

/// The `visit` argument that collects the keys of a struct.
struct KeyCollector {
  std::vector<std::string> keys;
  template <class T>
  void operator()(std::string_view key, const T&) {
    keys.emplace_back(key);
  }
};

/// The `visit` argument that writes a struct into a map.
struct Writer {
  ConfigValue map = ConfigValue::map();
  template <class T>
  void operator()(std::string_view key, const T& field) {
    map.set(key, write_config(field));
  }
};

template <class T>
inline constexpr bool kIsOptional = false;
template <class T>
inline constexpr bool kIsOptional<std::optional<T>> = true;
template <class T>
inline constexpr bool kIsVector = false;
template <class T>
inline constexpr bool kIsVector<std::vector<T>> = true;
template <class T>
inline constexpr bool kIsArray = false;
template <class T, std::size_t n>
inline constexpr bool kIsArray<std::array<T, n>> = true;

template <std::integral T>
T read_integer(const ConfigValue& value, const std::string& path) {
  if (value.kind() != ConfigValue::Kind::integer) fail_expected(value, path, "a whole number");
  if (const std::optional<T> number = value.integer_in<T>()) return *number;
  fail_expected(value, path, concat("a whole number from ", std::numeric_limits<T>::min(), " to ", std::numeric_limits<T>::max()));
}

template <class T>
T read_struct(const ConfigValue& value, const std::string& path) {
  if (value.kind() != ConfigValue::Kind::map) fail_expected(value, path, "a map of keys");
  T result;
  // Unknown keys first: a misspelt key is the likelier reason of whatever else is wrong.
  KeyCollector collector;
  T::visit(std::as_const(result), collector);
  require_known_keys(value, path, collector.keys);
  Reader reader(value, path);
  T::visit(result, reader);
  return result;
}

template <class T>
T read_list(const ConfigValue& value, const std::string& path) {
  if (value.kind() != ConfigValue::Kind::list) fail_expected(value, path, "a list");
  const std::vector<ConfigValue>& elements = value.elements();
  T result{};
  if constexpr (kIsArray<T>) {
    if (elements.size() != result.size()) fail_expected(value, path, concat("a list of ", result.size()));
  } else {
    result.resize(elements.size());
  }
  for (std::size_t index = 0; index < elements.size(); ++index) {
    result[index] = read_config<typename T::value_type>(elements[index], concat(path, "[", index, "]"));
  }
  return result;
}

template <class T>
T read_choice(const ConfigValue& value, const std::string& path) {
  std::vector<std::string> names;
  for (const auto& [choice, name] : config_names(T{})) {
    if (value.kind() == ConfigValue::Kind::string && value.as_string() == name) return choice;
    names.emplace_back(name);
  }
  fail_choice(value, path, names);
}

}  // namespace config_detail

template <class T>
T read_config(const ConfigValue& value, const std::string& path) {
  using namespace config_detail;
  using Kind = ConfigValue::Kind;
  if constexpr (std::is_same_v<T, ConfigValue>) {
    return value;
  } else if constexpr (kIsOptional<T>) {
    if (value.is_null()) return std::nullopt;
    return read_config<typename T::value_type>(value, path);
  } else if constexpr (std::is_same_v<T, bool>) {
    if (value.kind() != Kind::boolean) fail_expected(value, path, "true or false");
    return value.as_bool();
  } else if constexpr (std::integral<T>) {
    return read_integer<T>(value, path);
  } else if constexpr (std::floating_point<T>) {
    if (value.kind() != Kind::number && value.kind() != Kind::integer) fail_expected(value, path, "a number");
    return value.as_number();
  } else if constexpr (std::is_same_v<T, std::string>) {
    if (value.kind() != Kind::string) fail_expected(value, path, "text");
    return value.as_string();
  } else if constexpr (std::is_enum_v<T>) {
    return read_choice<T>(value, path);
  } else if constexpr (kIsVector<T> || kIsArray<T>) {
    return read_list<T>(value, path);
  } else {
    return read_struct<T>(value, path);
  }
}

template <class T>
ConfigValue write_config(const T& value) {
  using namespace config_detail;
  if constexpr (std::is_same_v<T, ConfigValue> || std::is_same_v<T, bool> || std::is_same_v<T, std::uint64_t> ||
                std::is_same_v<T, double> || std::is_same_v<T, std::string>) {
    return value;
  } else if constexpr (kIsOptional<T>) {
    return value ? write_config(*value) : ConfigValue();
  } else if constexpr (std::integral<T>) {
    return static_cast<std::int64_t>(value);
  } else if constexpr (std::is_enum_v<T>) {
    for (const auto& [choice, name] : config_names(value)) {
      if (choice == value) return std::string(name);
    }
    return ConfigValue();
  } else if constexpr (kIsVector<T> || kIsArray<T>) {
    ConfigValue list = ConfigValue::list();
    for (const auto& element : value) list.append(write_config(static_cast<const typename T::value_type&>(element)));
    return list;
  } else {
    Writer writer;
    T::visit(value, writer);
    return std::move(writer.map);
  }
}

}  // namespace trident
