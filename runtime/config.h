/// Configuration: parsed documents, and structs that read and write themselves through one `visit`.
///
/// A configuration struct lists its keys once:
///     struct ScotConfig {
///       int image_size = 224;  // points per side
///       static void visit(auto& self, auto& v) { v("image_size", self.image_size); }
///     };
/// read_config() fills it from a document; unknown keys, wrong types and lists of the wrong kind are ConfigErrors that name the file, the
/// line, the full key, what was found, what is allowed, and the nearest valid key. write_config() is its inverse.
/// Field types: bool, int, std::int64_t, double, std::string, enums (through `config_names(Enum)`, an overload found by argument-dependent
/// lookup), other such structs, ConfigValue (taken as it is), std::optional, std::vector and std::array of these. null is accepted by std::optional alone.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

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
  ConfigValue(double value);
  ConfigValue(std::string value);
  ConfigValue(const char* value);
  static ConfigValue list(std::vector<ConfigValue> elements = {});
  static ConfigValue map(std::vector<Entry> entries = {});

  Kind kind() const { return kind_; }
  bool is_null() const { return kind_ == Kind::null; }
  // Each throws ConfigError, naming file and line, if the value is of another kind; an integer is a number too.
  bool as_bool() const;
  std::int64_t as_integer() const;
  double as_number() const;
  const std::string& as_string() const;
  const std::vector<ConfigValue>& elements() const;  // of a list
  const std::vector<Entry>& entries() const;         // of a map, in the order of the file
  /// The value of `key` in a map, or null pointer.
  const ConfigValue* find(std::string_view key) const;
  /// Replaces or appends.
  void set(std::string_view key, ConfigValue value);
  void append(ConfigValue element);

  /// "run.yaml:12", for messages; empty for values that were not parsed.
  std::string where() const;

 private:
  friend class ConfigParser;
  Kind kind_ = Kind::null;
  bool boolean_ = false;
  std::int64_t integer_ = 0;
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
/// Numbers keep all digits (shortest form that reads back to the same double).
std::string to_json(const ConfigValue& value, int indent = 2);
std::string to_yaml(const ConfigValue& value);

}  // namespace trident
