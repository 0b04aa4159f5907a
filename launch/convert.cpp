// `trident convert SOURCE TARGET`.
#include <iostream>
#include <memory>

#include "launch/commands.h"
#include "launch/conversion.h"
#include "parallel/session.h"
#include "runtime/config.h"
#include "runtime/error.h"

namespace trident {
namespace {

struct ConvertOptions {
  std::string source, target;
  std::string to = "trident";
  bool overwrite = false;
};

ModelFormat format_named(const std::string& name) {
  std::string allowed;
  for (const auto& [format, text] : config_names(ModelFormat{})) {
    if (name == text) return format;
    allowed += concat(allowed.empty() ? "" : ", ", text);
  }
  throw ConfigError(concat("--to: there is no format \"", name, "\"; allowed: ", allowed));
}

void run(const ConvertOptions& options, const CommandContext& context) {
  Conversion conversion{options.source, options.target, format_named(options.to)};
  if (options.overwrite) conversion.existing = Existing::replace;
  if (context.common.precision) conversion.dtype = dtype_of_precision(*context.common.precision);
  if (context.session.world()->rank() != 0) return;
  convert(conversion);
  if (context.common.json) {
    std::cout << to_json(ConfigValue::map({{"source", options.source}, {"target", options.target}})) << '\n';
  } else {
    std::cerr << options.target << ": written\n";
  }
}

}  // namespace

Command convert_command() {
  return {"convert", "turns a model directory or a file of tensors into another format", [](Arguments& arguments) {
            auto options = std::make_shared<ConvertOptions>();
            arguments.add(
                "source", options->source,
                "model directory of Hugging Face, neuraloperator or The Well, training checkpoint, or a .bin, .pt or .safetensors "
                "file",
                Presence::required);
            arguments.add("target", options->target, "model directory, or .safetensors, .pt or .bin file", Presence::required);
            arguments.add("--to", options->to,
                          "trident (with trident.json, if the source has one), hugging-face (without), neuraloperator (fno, tfno) or "
                          "checkpoint (to train on)");
            arguments.flag("--overwrite", options->overwrite, "replace an existing target");
            return [options](CommandContext& context) { run(*options, context); };
          }};
}

}  // namespace trident
