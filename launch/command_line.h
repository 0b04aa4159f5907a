/// The command line: a table of commands, each of which declares its options and returns what runs them.
///
/// A command is one function in one file:
///     Command inspect_command() {
///       return {"inspect", "says what is in a checkpoint, a data set or a run", [](Arguments& arguments) {
///         auto options = std::make_shared<InspectOptions>();
///         arguments.add("path", options->path, "model directory, data file or run", Presence::required);
///         return [options](CommandContext& context) { inspect(*options, context); };
///       }};
///     }
/// and one line in commands.cpp. This header spares them the parser's, which costs seconds to compile.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "launch/command_context.h"

namespace CLI {
class App;
}

namespace trident {

enum class Presence { optional, required };

/// Declares the options of one command. `names` is "--output" or "-o,--output"; a name without dashes is a positional argument. The targets
/// must live until the command has run; their values are the defaults.
class Arguments {
 public:
  explicit Arguments(CLI::App& app) : app_(app) {}

  void add(const std::string& names, std::string& target, const std::string& help, Presence presence = Presence::optional);
  void add(const std::string& names, int& target, const std::string& help, Presence presence = Presence::optional);
  void add(const std::string& names, std::int64_t& target, const std::string& help, Presence presence = Presence::optional);
  void add(const std::string& names, double& target, const std::string& help, Presence presence = Presence::optional);
  void add(const std::string& names, std::optional<std::string>& target, const std::string& help);
  void add(const std::string& names, std::optional<int>& target, const std::string& help);
  void add(const std::string& names, std::optional<std::int64_t>& target, const std::string& help);
  void add(const std::string& names, std::optional<double>& target, const std::string& help);
  /// Takes all the words that are left.
  void add(const std::string& names, std::vector<std::string>& target, const std::string& help);
  void flag(const std::string& names, bool& target, const std::string& help);

 private:
  CLI::App& app_;
};

/// What runs a command whose arguments have been read.
using RunCommand = std::function<void(CommandContext&)>;

struct Command {
  std::string name;
  std::string summary;  // one line for --help
  std::function<RunCommand(Arguments&)> declare;
};

/// What the command line asks for. `run` is empty if it was answered already (--help, --version).
struct Invocation {
  CommonOptions common;
  RunCommand run;
};

/// Reads the arguments. Throws ConfigError on unknown commands and flags, and on values that cannot be meant.
Invocation parse_command_line(int argc, const char* const* argv, const std::vector<Command>& commands);

}  // namespace trident
