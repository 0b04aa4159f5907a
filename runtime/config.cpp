#include "runtime/config.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>

namespace trident {

ConfigValue::ConfigValue(bool value) : kind_(Kind::boolean), boolean_(value) {}
ConfigValue::ConfigValue(int value) : kind_(Kind::integer), integer_(value) {}
ConfigValue::ConfigValue(std::int64_t value) : kind_(Kind::integer), integer_(value) {}
ConfigValue::ConfigValue(std::uint64_t value)
    : kind_(Kind::integer), integer_(static_cast<std::int64_t>(value)), is_beyond_(!std::in_range<std::int64_t>(value)) {}
ConfigValue::ConfigValue(double value) : kind_(Kind::number), number_(value) {}
ConfigValue::ConfigValue(std::string value) : kind_(Kind::string), string_(std::move(value)) {}
ConfigValue::ConfigValue(const char* value) : kind_(Kind::string), string_(value) {}

ConfigValue ConfigValue::list(std::vector<ConfigValue> elements) {
  ConfigValue result;
  result.kind_ = Kind::list;
  result.elements_ = std::move(elements);
  return result;
}

ConfigValue ConfigValue::map(std::vector<Entry> entries) {
  ConfigValue result;
  result.kind_ = Kind::map;
  result.entries_ = std::move(entries);
  return result;
}

bool ConfigValue::as_bool() const {
  if (kind_ != Kind::boolean) config_detail::fail_expected(*this, "", "true or false");
  return boolean_;
}

std::int64_t ConfigValue::as_integer() const {
  if (kind_ != Kind::integer) config_detail::fail_expected(*this, "", "a whole number");
  if (is_beyond_) config_detail::fail_expected(*this, "", "a whole number below 2^63");
  return integer_;
}

double ConfigValue::as_number() const {
  if (kind_ == Kind::integer) return is_beyond_ ? static_cast<double>(static_cast<std::uint64_t>(integer_)) : static_cast<double>(integer_);
  if (kind_ != Kind::number) config_detail::fail_expected(*this, "", "a number");
  return number_;
}

const std::string& ConfigValue::as_string() const {
  if (kind_ != Kind::string) config_detail::fail_expected(*this, "", "text");
  return string_;
}

const std::vector<ConfigValue>& ConfigValue::elements() const {
  if (kind_ != Kind::list) config_detail::fail_expected(*this, "", "a list");
  return elements_;
}

const std::vector<ConfigValue::Entry>& ConfigValue::entries() const {
  if (kind_ != Kind::map) config_detail::fail_expected(*this, "", "a map of keys");
  return entries_;
}

const ConfigValue* ConfigValue::find(std::string_view key) const {
  const auto entry = std::ranges::find(entries(), key, &Entry::first);
  return entry == entries_.end() ? nullptr : &entry->second;
}

std::vector<ConfigValue>& ConfigValue::elements() { return const_cast<std::vector<ConfigValue>&>(std::as_const(*this).elements()); }
ConfigValue* ConfigValue::find(std::string_view key) { return const_cast<ConfigValue*>(std::as_const(*this).find(key)); }

void ConfigValue::set(std::string_view key, ConfigValue value) {
  if (kind_ != Kind::map) config_detail::fail_expected(*this, std::string(key), "a map of keys around it");
  const auto entry = std::ranges::find(entries_, key, &Entry::first);
  if (entry == entries_.end()) {
    entries_.emplace_back(key, std::move(value));
  } else {
    entry->second = std::move(value);
  }
}

void ConfigValue::append(ConfigValue element) {
  if (kind_ != Kind::list) config_detail::fail_expected(*this, "", "a list");
  elements_.push_back(std::move(element));
}

std::string ConfigValue::where() const {
  if (file_.empty()) return "";
  return line_ > 0 ? concat(file_, ":", line_) : file_;
}

std::string ConfigValue::described() const {
  switch (kind_) {
    case Kind::null:
      return "null";
    case Kind::boolean:
      return boolean_ ? "true" : "false";
    case Kind::integer:
      return is_beyond_ ? std::to_string(static_cast<std::uint64_t>(integer_)) : std::to_string(integer_);
    case Kind::number:
      return std::isfinite(number_) ? to_json(*this) : concat(number_);  // JSON has no word for it
    case Kind::string:
      return string_.size() <= 80 ? concat('"', string_, '"') : concat('"', string_.substr(0, 80), "...\"");
    case Kind::list:
      return concat("a list of ", elements_.size());
    case Kind::map:
      return "a map";
  }
  return "";
}

namespace {

/// One step of a path: a key, or an index in brackets; empty where there is neither.
std::string_view next_part(std::string_view& path) {
  const bool index = path.starts_with('[');
  const std::size_t end = index ? path.find(']') : path.find_first_of(".[");
  const bool is_open = index && end == std::string_view::npos;
  const std::string_view part = is_open ? std::string_view() : index ? path.substr(1, end - 1) : path.substr(0, end);
  path.remove_prefix(end == std::string_view::npos ? path.size() : end + (index || path[end] == '.' ? 1 : 0));
  if (index && path.starts_with('.')) path.remove_prefix(1);
  return part;
}

/// The deepest value along `path` that exists; `path` is left with what was not found.
const ConfigValue* descend(const ConfigValue& document, std::string_view& path) {
  const ConfigValue* value = &document;
  while (!path.empty()) {
    std::string_view rest = path;
    const std::string_view part = next_part(rest);
    const ConfigValue* child = nullptr;
    if (value->kind() == ConfigValue::Kind::map) {
      child = value->find(part);
    } else if (value->kind() == ConfigValue::Kind::list) {
      std::size_t index = 0;
      const auto parsed = std::from_chars(part.data(), part.data() + part.size(), index);
      if (parsed.ec == std::errc() && index < value->elements().size()) child = &value->elements()[index];
    }
    if (child == nullptr) break;
    value = child;
    path = rest;
  }
  return value;
}

/// Letters to insert, drop or replace to come from one word to the other (Levenshtein).
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

ConfigError located_error(const ConfigValue& value, std::string_view path, const std::string& what) {
  std::string message = value.where();
  if (!message.empty()) message += ": ";
  if (!path.empty()) message += concat(path, ": ");
  return ConfigError(message + what);
}

}  // namespace

std::string suggestion(std::string_view word, const std::vector<std::string>& names) {
  const std::string* nearest = nullptr;
  std::size_t smallest = std::max<std::size_t>(2, word.size() / 3) + 1;
  for (const std::string& name : names) {
    const std::size_t distance = edit_distance(word, name);
    if (distance < smallest) {
      smallest = distance;
      nearest = &name;
    }
  }
  return nearest == nullptr ? "" : concat("did you mean \"", *nearest, "\"? ");
}

const ConfigValue* find_path(const ConfigValue& document, std::string_view path) {
  const ConfigValue* value = descend(document, path);
  return path.empty() ? value : nullptr;
}

void set_path(ConfigValue& document, std::string_view path, ConfigValue value) {
  ConfigValue* target = &document;
  for (std::string_view rest = path; !rest.empty();) {
    const std::string_view part = next_part(rest);
    if (part.empty()) throw located_error(value, path, "this is no path to a key; write it as in data.train[0].path");
    if (target->kind() == ConfigValue::Kind::list) {
      std::size_t index = target->elements().size();
      std::from_chars(part.data(), part.data() + part.size(), index);
      if (index >= target->elements().size()) {
        throw located_error(*target, path, concat("there is no element ", part, " in ", target->described()));
      }
      target = &target->elements()[index];
    } else {
      if (target->is_null()) {
        *target = ConfigValue::map();
        target->file_ = value.file_;
        target->line_ = value.line_;
      }
      if (target->kind() != ConfigValue::Kind::map) throw located_error(*target, path, concat(target->described(), " has no keys"));
      if (target->find(part) == nullptr) target->set(part, {});
      target = target->find(part);
    }
  }
  *target = std::move(value);
}

ConfigError config_error(const ConfigValue& document, std::string_view path, const std::string& what) {
  std::string_view rest = path;
  return located_error(*descend(document, rest), path, what);
}

namespace config_detail {

void fail(const ConfigValue& value, const std::string& path, const std::string& what) { throw located_error(value, path, what); }

void fail_expected(const ConfigValue& value, const std::string& path, const std::string& expected) {
  fail(value, path, concat("expected ", expected, ", found ", value.described()));
}

void fail_choice(const ConfigValue& value, const std::string& path, const std::vector<std::string>& names) {
  const std::string hint = value.kind() == ConfigValue::Kind::string ? suggestion(value.as_string(), names) : "";
  fail(value, path, concat("expected one of the allowed values, found ", value.described(), "; ", hint, "allowed: ", joined(names)));
}

void require_known_keys(const ConfigValue& map, const std::string& path, const std::vector<std::string>& known) {
  for (const auto& [key, value] : map.entries()) {
    if (std::ranges::find(known, key) == known.end()) {
      fail(value, child_path(path, key), concat("unknown key; ", suggestion(key, known), "allowed: ", joined(known)));
    }
  }
}

std::string child_path(const std::string& path, std::string_view key) { return path.empty() ? std::string(key) : concat(path, ".", key); }

}  // namespace config_detail
}  // namespace trident
