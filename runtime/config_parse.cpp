#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <charconv>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>
#include <unordered_set>

#include "runtime/config.h"

namespace trident {
namespace {

constexpr std::size_t kDeepest = 64;  // nested lists and maps

template <class Number>
bool parse_whole(std::string_view text, Number& number) {
  const auto result = std::from_chars(text.data(), text.data() + text.size(), number);
  return result.ec == std::errc() && result.ptr == text.data() + text.size();
}

/// The value of an unquoted YAML word, by the core schema of YAML 1.2.
ConfigValue resolve(const std::string& word) {
  if (word.empty() || word == "~" || word == "null" || word == "Null" || word == "NULL") return {};
  if (word == "true" || word == "True" || word == "TRUE") return true;
  if (word == "false" || word == "False" || word == "FALSE") return false;
  const std::string_view text = std::string_view(word).substr(word[0] == '+' ? 1 : 0);
  const std::string_view digits = text.substr(text.starts_with('-') ? 1 : 0);
  if (digits == ".inf") return text[0] == '-' ? -std::numeric_limits<double>::infinity() : std::numeric_limits<double>::infinity();
  if (word == ".nan") return std::numeric_limits<double>::quiet_NaN();
  // from_chars also reads "inf" and "nan", which are words here.
  if (digits.empty() || digits.find_first_not_of("0123456789.eE+-") != std::string_view::npos) return word;
  std::int64_t integer = 0;
  if (parse_whole(text, integer)) return integer;
  std::uint64_t beyond = 0;
  if (parse_whole(text, beyond)) return beyond;
  double number = 0.0;
  if (parse_whole(text, number)) return number;
  return word;
}

}  // namespace

/// Builds a document from the events of a parser: shared by YAML and JSON.
class ConfigParser {
 public:
  explicit ConfigParser(std::string file) : file_(std::move(file)) {}

  void open(ConfigValue value, int line) {
    if (open_.size() >= kDeepest) fail(line, concat("nested deeper than ", kDeepest, "; such a document is not meant"));
    open_.push_back({placed(std::move(value), line), {}, std::nullopt});
  }
  void close() {
    ConfigValue value = std::move(open_.back().value);
    open_.pop_back();
    add(std::move(value));
  }
  void key(std::string key, int line) {
    if (!open_.back().keys.insert(key).second) fail(line, concat("key \"", key, "\" is given twice; remove one"));
    open_.back().key = std::move(key);
  }
  void scalar(ConfigValue value, int line) { add(placed(std::move(value), line)); }
  /// Whether the next value is the key of a map.
  bool expects_key() const { return !open_.empty() && open_.back().value.kind() == ConfigValue::Kind::map && !open_.back().key; }
  ConfigValue take() { return std::move(root_); }
  [[noreturn]] void fail(int line, const std::string& what) const { throw ConfigError(concat(file_, ":", line, ": ", what)); }

 private:
  struct Open {
    ConfigValue value;
    std::unordered_set<std::string> keys;
    std::optional<std::string> key;  // of the value that comes next
  };

  ConfigValue placed(ConfigValue value, int line) const {
    value.file_ = file_;
    value.line_ = line;
    return value;
  }
  void add(ConfigValue value) {
    if (open_.empty()) {
      root_ = std::move(value);
    } else if (Open& parent = open_.back(); parent.key) {
      parent.value.entries_.emplace_back(std::move(*parent.key), std::move(value));
      parent.key.reset();
    } else {
      parent.value.elements_.push_back(std::move(value));
    }
  }

  std::string file_;
  std::vector<Open> open_;
  ConfigValue root_;
};

namespace {

class YamlEvents final : public YAML::EventHandler {
 public:
  explicit YamlEvents(ConfigParser& parser) : parser_(parser) {}

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t) override {
    if (parser_.expects_key()) parser_.fail(line(mark), "a key is missing; write `key: value`");
    parser_.scalar({}, line(mark));
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    parser_.fail(line(mark), "aliases (*name) are not supported; write the value out");
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t, const std::string& value) override {
    if (parser_.expects_key()) return parser_.key(value, line(mark));
    const bool quoted = tag == "!";
    parser_.scalar(quoted ? ConfigValue(value) : resolve(value), line(mark));
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {
    open(ConfigValue::list(), mark);
  }
  void OnSequenceEnd() override { parser_.close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {
    open(ConfigValue::map(), mark);
  }
  void OnMapEnd() override { parser_.close(); }

 private:
  static int line(const YAML::Mark& mark) { return mark.line + 1; }
  void open(ConfigValue value, const YAML::Mark& mark) {
    if (parser_.expects_key()) parser_.fail(line(mark), "a key must be a word, not a list or a map");
    parser_.open(std::move(value), line(mark));
  }

  ConfigParser& parser_;
};

/// Reads the text of a JSON document and counts its lines, which nlohmann's events do not carry.
struct TrackedText {
  const char* last = nullptr;  // the character read last
  int line = 1;                // on which it stands
};

class TrackingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  TrackingIterator(const char* at, TrackedText* text) : at_(at), text_(text) {}
  reference operator*() const { return *at_; }
  TrackingIterator& operator++() {
    if (text_->last != nullptr && *text_->last == '\n') ++text_->line;
    text_->last = at_++;
    return *this;
  }
  bool operator==(const TrackingIterator& other) const { return at_ == other.at_; }
  bool operator!=(const TrackingIterator& other) const { return at_ != other.at_; }

 private:
  const char* at_;
  TrackedText* text_;
};

class JsonEvents final : public nlohmann::json_sax<nlohmann::json> {
 public:
  JsonEvents(ConfigParser& parser, const TrackedText& text) : parser_(parser), text_(text) {}

  bool null() override { return scalar({}); }
  bool boolean(bool value) override { return scalar(value); }
  bool number_integer(number_integer_t value) override { return scalar(static_cast<std::int64_t>(value)); }
  bool number_unsigned(number_unsigned_t value) override { return scalar(static_cast<std::uint64_t>(value)); }
  bool number_float(number_float_t value, const string_t&) override { return scalar(value); }
  bool string(string_t& value) override { return scalar(std::move(value)); }
  bool binary(binary_t&) override { return false; }
  bool start_object(std::size_t) override { return parser_.open(ConfigValue::map(), text_.line), true; }
  bool key(string_t& value) override { return parser_.key(std::move(value), text_.line), true; }
  bool end_object() override { return parser_.close(), true; }
  bool start_array(std::size_t) override { return parser_.open(ConfigValue::list(), text_.line), true; }
  bool end_array() override { return parser_.close(), true; }
  bool parse_error(std::size_t, const std::string& last_token, const nlohmann::detail::exception&) override {
    parser_.fail(text_.line, concat("this is not JSON: near \"", last_token.substr(0, 80), "\""));
  }

 private:
  bool scalar(ConfigValue value) { return parser_.scalar(std::move(value), text_.line), true; }

  ConfigParser& parser_;
  const TrackedText& text_;
};

}  // namespace

ConfigValue parse_yaml(std::string_view text, const std::string& file) {
  ConfigParser parser(file);
  YamlEvents events(parser);
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser yaml(stream);
    if (!yaml.HandleNextDocument(events)) parser.scalar({}, 1);
    ConfigParser second(file);
    YamlEvents surplus(second);
    if (yaml.HandleNextDocument(surplus)) throw ConfigError(concat(file, ": holds more than one YAML document; keep one"));
  } catch (const YAML::Exception& error) {
    parser.fail(error.mark.line + 1, concat("this is not YAML: ", error.msg));
  }
  return parser.take();
}

ConfigValue parse_json(std::string_view text, const std::string& file) {
  ConfigParser parser(file);
  TrackedText tracked;
  JsonEvents events(parser, tracked);
  nlohmann::json::sax_parse(TrackingIterator(text.data(), &tracked), TrackingIterator(text.data() + text.size(), &tracked), &events);
  return parser.take();
}

}  // namespace trident
