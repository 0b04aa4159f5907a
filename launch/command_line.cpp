#include "launch/command_line.h"

#include <CLI/CLI.hpp>
#include <iostream>

#include "runtime/config.h"

namespace trident {
namespace {

template <class T>
void add_option(CLI::App& app, const std::string& names, T& target, const std::string& help, Presence presence) {
  CLI::Option* option = app.add_option(names, target, help);
  if (presence == Presence::required) option->required();
}

/// The value of a flag with a fixed set of words.
template <class Choice>
std::optional<Choice> choice_of(const std::optional<std::string>& word, const std::string& flag) {
  if (!word) return std::nullopt;
  return read_config<Choice>(*word, flag);
}

struct CommonWords {
  std::optional<std::string> device, precision;
  std::optional<int> threads;
  bool json = false;
};

void add_common(CLI::App& app, CommonWords& words) {
  app.add_option("--device", words.device, "cpu or cuda")->group("Common options");
  app.add_option("--precision", words.precision, "f32, f64 or bf16")->group("Common options");
  app.add_option("--threads", words.threads, "threads of this rank (default: its share of the machine's cores)")->group("Common options");
  app.add_flag("--json", words.json, "one JSON object on standard output")->group("Common options");
}

CommonOptions common_options(const CommonWords& words) {
  constexpr int kMostThreads = 4096;  // of one rank: more than any host has cores
  if (words.threads && (*words.threads < 1 || *words.threads > kMostThreads)) {
    throw ConfigError(concat("--threads: expected 1 to ", kMostThreads, ", found ", *words.threads));
  }
  return {choice_of<DeviceChoice>(words.device, "--device"), choice_of<Precision>(words.precision, "--precision"), words.threads,
          words.json};
}

/// The name of the command that was being read when parsing failed, after the program's.
std::string help_hint(const CLI::App& app) {
  std::string hint = "trident";
  for (const CLI::App* command : app.get_subcommands()) hint += ' ' + command->get_name();
  return hint + " --help";
}

void require_known_command(int argc, const char* const* argv, const std::vector<Command>& commands) {
  if (argc < 2 || argv[1][0] == '-') return;
  std::vector<std::string> names;
  std::string list;
  for (const Command& command : commands) {
    if (command.name == argv[1]) return;
    names.push_back(command.name);
    list += (list.empty() ? "" : ", ") + command.name;
  }
  throw ConfigError(concat("unknown command \"", argv[1], "\"; ", suggestion(argv[1], names), "commands: ", list));
}

std::string without_line_breaks(std::string text) {
  for (char& c : text) c = c == '\n' ? ' ' : c;
  return text;
}

}  // namespace

void Arguments::add(const std::string& names, std::string& target, const std::string& help, Presence presence) {
  add_option(app_, names, target, help, presence);
}
void Arguments::add(const std::string& names, int& target, const std::string& help, Presence presence) {
  add_option(app_, names, target, help, presence);
}
void Arguments::add(const std::string& names, std::int64_t& target, const std::string& help, Presence presence) {
  add_option(app_, names, target, help, presence);
}
void Arguments::add(const std::string& names, double& target, const std::string& help, Presence presence) {
  add_option(app_, names, target, help, presence);
}
void Arguments::add(const std::string& names, std::optional<std::string>& target, const std::string& help) {
  add_option(app_, names, target, help, Presence::optional);
}
void Arguments::add(const std::string& names, std::optional<int>& target, const std::string& help) {
  add_option(app_, names, target, help, Presence::optional);
}
void Arguments::add(const std::string& names, std::optional<std::int64_t>& target, const std::string& help) {
  add_option(app_, names, target, help, Presence::optional);
}
void Arguments::add(const std::string& names, std::optional<double>& target, const std::string& help) {
  add_option(app_, names, target, help, Presence::optional);
}
void Arguments::add(const std::string& names, std::vector<std::string>& target, const std::string& help) {
  add_option(app_, names, target, help, Presence::optional);
}
void Arguments::flag(const std::string& names, bool& target, const std::string& help) { app_.add_flag(names, target, help); }

Invocation parse_command_line(int argc, const char* const* argv, const std::vector<Command>& commands) {
  CLI::App app("Trident trains and serves PDE foundation models.", "trident");
  app.set_version_flag("--version", "trident " TRIDENT_VERSION);
  app.require_subcommand(1);
  require_known_command(argc, argv, commands);
  CommonWords words;
  std::vector<RunCommand> runs;
  std::vector<const CLI::App*> subcommands;
  for (const Command& command : commands) {
    CLI::App* subcommand = app.add_subcommand(command.name, command.summary);
    Arguments arguments(*subcommand);
    runs.push_back(command.declare(arguments));
    add_common(*subcommand, words);
    subcommands.push_back(subcommand);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& answered) {
    app.exit(answered, std::cout, std::cerr);
    return {};
  } catch (const CLI::ParseError& error) {
    throw ConfigError(concat(without_line_breaks(error.what()), "; see ", help_hint(app)));
  }
  Invocation invocation{common_options(words), {}};
  for (std::size_t index = 0; index < subcommands.size(); ++index) {
    if (subcommands[index]->parsed()) invocation.run = runs[index];
  }
  return invocation;
}

}  // namespace trident
