// `trident inspect PATH`: the document of inspection.h, as JSON or for people.
#include <algorithm>
#include <iomanip>
#include <iostream>
#include <memory>
#include <sstream>

#include "launch/commands.h"
#include "launch/inspection.h"
#include "launch/trainer/progress.h"
#include "parallel/session.h"
#include "runtime/error.h"

namespace trident {
namespace {

using Kind = ConfigValue::Kind;

struct InspectOptions {
  std::string path;
  bool statistics = false;
};

/// 20774444 -> "20,774,444".
std::string grouped(std::int64_t number) {
  const std::string digits = std::to_string(number);
  std::string result;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0 && digits[i - 1] != '-') result += ',';
    result += digits[i];
  }
  return result;
}

std::string text_of(const std::string& key, const ConfigValue& value) {
  if (value.kind() == Kind::string) return value.as_string();
  if (value.kind() == Kind::integer) {
    return key.ends_with("bytes") ? readable_bytes(static_cast<double>(value.as_integer())) : grouped(value.as_integer());
  }
  if (value.kind() != Kind::number) return to_json(value, 0);
  std::ostringstream text;
  text << std::setprecision(5) << value.as_number();
  return text.str();
}

bool is_table(const ConfigValue& value) {
  return value.kind() == Kind::list && !value.elements().empty() && value.elements()[0].kind() == Kind::map;
}

/// One line a row, one column a key of any row.
void print_table(std::ostream& out, const std::vector<ConfigValue>& rows, const std::string& indent) {
  std::vector<std::string> keys;
  for (const ConfigValue& row : rows) {
    for (const auto& [key, value] : row.entries()) {
      if (std::ranges::find(keys, key) == keys.end()) keys.push_back(key);
    }
  }
  std::vector<std::vector<std::string>> lines{keys};
  for (const ConfigValue& row : rows) {
    std::vector<std::string>& line = lines.emplace_back();
    for (const std::string& key : keys) {
      const ConfigValue* value = row.find(key);
      line.push_back(value == nullptr ? "" : text_of(key, *value));
    }
  }
  std::vector<std::size_t> widths(keys.size());
  for (const auto& line : lines) {
    for (std::size_t column = 0; column < keys.size(); ++column) widths[column] = std::max(widths[column], line[column].size());
  }
  for (const auto& line : lines) {
    std::string text = indent;
    for (std::size_t column = 0; column < keys.size(); ++column) {
      text += line[column] + std::string(widths[column] + 2 - line[column].size(), ' ');
    }
    out << text.substr(0, text.find_last_not_of(' ') + 1) << '\n';
  }
}

void print(std::ostream& out, const ConfigValue& document, const std::string& indent) {
  std::size_t width = 0;
  for (const auto& [key, value] : document.entries()) {
    if (value.kind() != Kind::map && !is_table(value)) width = std::max(width, key.size());
  }
  for (const auto& [key, value] : document.entries()) {
    if (value.kind() == Kind::map) {
      out << indent << key << ":\n";
      print(out, value, indent + "  ");
    } else if (key == "files" && is_table(value)) {
      for (const ConfigValue& file : value.elements()) print(out, file, indent + "  ");
    } else if (is_table(value)) {
      out << indent << key << ":\n";
      print_table(out, value.elements(), indent + "  ");
    } else {
      out << indent << key << std::string(width + 2 - key.size(), ' ') << text_of(key, value) << '\n';
    }
  }
}

void inspect(const InspectOptions& options, const CommandContext& context) {
  if (context.session.world()->rank() != 0) return;
  const ConfigValue document = inspection_of(options.path, options.statistics ? Detail::with_statistics : Detail::headers);
  if (context.common.json) {
    std::cout << to_json(document) << '\n';
  } else {
    print(std::cout, document, "");
  }
}

}  // namespace

Command inspect_command() {
  return {"inspect", "says what is in a model, a checkpoint, a data set or a run", [](Arguments& arguments) {
            auto options = std::make_shared<InspectOptions>();
            arguments.add("path", options->path, "model directory, config.json, checkpoint, file of tensors or data, or run",
                          Presence::required);
            arguments.flag("--statistics", options->statistics, "read every number: smallest, largest, mean, standard deviation");
            return [options](CommandContext& context) { inspect(*options, context); };
          }};
}

}  // namespace trident
