#include "checkpoint/name_rules.h"

namespace trident {
namespace {

/// Takes the part before the next dot off `rest`.
std::string_view take_part(std::string_view& rest) {
  const std::size_t dot = rest.find('.');
  const std::string_view part = rest.substr(0, dot);
  rest = dot == std::string_view::npos ? std::string_view() : rest.substr(dot + 1);
  return part;
}

bool is_wildcard(std::string_view part) { return part == "*" || part == "**" || part == "#"; }

}  // namespace

std::optional<std::vector<std::string>> match_name(std::string_view pattern, std::string_view name) {
  std::vector<std::string> parts;
  while (!pattern.empty()) {
    const std::string_view wanted = take_part(pattern);
    if (name.empty()) return std::nullopt;
    if (wanted == "**") {
      parts.emplace_back(name);
      return parts;
    }
    const std::string_view found = take_part(name);
    if (is_wildcard(wanted)) {
      if (wanted == "#" && found.find_first_not_of("0123456789") != std::string_view::npos) return std::nullopt;
      parts.emplace_back(found);
    } else if (wanted != found) {
      return std::nullopt;
    }
  }
  return name.empty() ? std::optional(parts) : std::nullopt;
}

std::string fill_name(std::string_view pattern, std::span<const std::string> parts) {
  std::string name;
  std::size_t next = 0;
  while (!pattern.empty()) {
    const std::string_view part = take_part(pattern);
    name += name.empty() ? "" : ".";
    name += is_wildcard(part) ? std::string_view(parts[next++]) : part;
  }
  return name;
}

}  // namespace trident
