#include <charconv>
#include <cmath>
#include <cstdio>

#include "runtime/config.h"

namespace trident {
namespace {

using Kind = ConfigValue::Kind;

/// The shortest digits that read back to the same double, marked as a fraction so that they do not read back as an integer.
std::string digits_of(double number) {
  std::array<char, 32> buffer;
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), number).ptr;
  std::string text(buffer.data(), end);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (const char c : text) {
    switch (c) {
      case '"':
        result += "\\\"";
        break;
      case '\\':
        result += "\\\\";
        break;
      case '\n':
        result += "\\n";
        break;
      case '\t':
        result += "\\t";
        break;
      case '\r':
        result += "\\r";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          std::array<char, 8> escape;
          std::snprintf(escape.data(), escape.size(), "\\u%04x", static_cast<unsigned>(c));
          result += escape.data();
        } else {
          result += c;
        }
    }
  }
  return result + '"';
}

bool is_nested(const ConfigValue& value) {
  return (value.kind() == Kind::list && !value.elements().empty()) || (value.kind() == Kind::map && !value.entries().empty());
}

std::string json_scalar(const ConfigValue& value) {
  switch (value.kind()) {
    case Kind::null:
      return "null";
    case Kind::boolean:
      return value.as_bool() ? "true" : "false";
    case Kind::integer:
      return value.described();
    case Kind::number:
      return std::isfinite(value.as_number()) ? digits_of(value.as_number()) : "null";
    case Kind::string:
      return quoted(value.as_string());
    case Kind::list:
      return "[]";
    case Kind::map:
      return "{}";
  }
  return "";
}

void append_json(std::string& out, const ConfigValue& value, int indent, int depth) {
  if (!is_nested(value)) {
    out += json_scalar(value);
    return;
  }
  const auto new_line = [&](int levels) {
    if (indent > 0) out += '\n' + std::string(static_cast<std::size_t>(indent) * levels, ' ');
  };
  const bool map = value.kind() == Kind::map;
  const std::size_t size = map ? value.entries().size() : value.elements().size();
  out += map ? '{' : '[';
  for (std::size_t index = 0; index < size; ++index) {
    if (index > 0) out += indent > 0 ? "," : ", ";
    new_line(depth + 1);
    if (map) out += quoted(value.entries()[index].first) + ": ";
    append_json(out, map ? value.entries()[index].second : value.elements()[index], indent, depth + 1);
  }
  new_line(depth);
  out += map ? '}' : ']';
}

/// Whether a word reads back as itself without quotes: letters, digits and the signs of paths, starting with a letter or a path.
bool is_plain_word(const std::string& text) {
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '/'; };
  if (text.empty() || !letter(text[0]) || text.back() == ' ') return false;
  for (const char c : text) {
    if (!letter(c) && !(c >= '0' && c <= '9') && c != '.' && c != '-' && c != ' ') return false;
  }
  const ConfigValue parsed = parse_yaml(text, "");
  return parsed.kind() == Kind::string && parsed.as_string() == text;
}

std::string yaml_word(const std::string& text) { return is_plain_word(text) ? text : quoted(text); }

std::string yaml_scalar(const ConfigValue& value) {
  if (value.kind() == Kind::string) return yaml_word(value.as_string());
  if (value.kind() == Kind::number && std::isnan(value.as_number())) return ".nan";
  if (value.kind() == Kind::number && std::isinf(value.as_number())) return value.as_number() < 0 ? "-.inf" : ".inf";
  return json_scalar(value);
}

/// A list or map on one line: [a, b], {a: 1}.
std::string flow_yaml(const ConfigValue& value) {
  if (!is_nested(value)) return yaml_scalar(value);
  std::string out;
  if (value.kind() == Kind::list) {
    for (const ConfigValue& element : value.elements()) out += (out.empty() ? "" : ", ") + flow_yaml(element);
    return '[' + out + ']';
  }
  for (const auto& [key, child] : value.entries()) out += (out.empty() ? "" : ", ") + yaml_word(key) + ": " + flow_yaml(child);
  return '{' + out + '}';
}

bool holds_map(const ConfigValue& list) {
  for (const ConfigValue& element : list.elements()) {
    if (element.kind() == Kind::map) return true;
  }
  return false;
}

/// Maps as blocks; lists of plain values on one line, lists of maps one map a line.
void append_yaml(std::string& out, const ConfigValue& value, int depth) {
  const std::string margin(static_cast<std::size_t>(depth) * 2, ' ');
  for (const auto& [key, child] : value.entries()) {
    out += margin + yaml_word(key) + ':';
    if (child.kind() == Kind::map && is_nested(child)) {
      out += '\n';
      append_yaml(out, child, depth + 1);
    } else if (child.kind() == Kind::list && holds_map(child)) {
      out += '\n';
      for (const ConfigValue& element : child.elements()) out += margin + "  - " + flow_yaml(element) + '\n';
    } else {
      out += ' ' + flow_yaml(child) + '\n';
    }
  }
}

}  // namespace

std::string to_json(const ConfigValue& value, int indent) {
  std::string out;
  append_json(out, value, indent, 0);
  return out;
}

std::string to_yaml(const ConfigValue& value) {
  if (value.kind() != Kind::map || value.entries().empty()) return flow_yaml(value) + '\n';
  std::string out;
  append_yaml(out, value, 0);
  return out;
}

}  // namespace trident
