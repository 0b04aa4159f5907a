#include "launch/command_context.h"

#include <filesystem>

#include "parallel/thread_share.h"
#include "runtime/device/threads.h"
#include "runtime/error.h"

namespace trident {

DType dtype_of_precision(Precision precision) {
  switch (precision) {
    case Precision::f32:
      return DType::f32;
    case Precision::f64:
      return DType::f64;
    case Precision::bf16:
      return DType::bf16;
  }
  return DType::f32;
}

void set_threads(CommandContext& context) {
  const ThreadShare share = share_cores(context.session);
  const int threads = context.common.threads.value_or(share.threads);
  set_num_threads(threads);
  context.threads = concat(threads, threads == 1 ? " thread" : " threads", share.ranks > 1 ? " a rank" : "", " on ", share.cores,
                           share.cores == 1 ? " core" : " cores");
}

void check_target(const std::string& path, Overwrite overwrite) {
  const std::filesystem::path folder = std::filesystem::absolute(path).parent_path();
  if (!std::filesystem::is_directory(folder)) throw ConfigError(concat(path, ": there is no folder ", folder.string(), "; make it first"));
  if (overwrite == Overwrite::yes || !std::filesystem::exists(path)) return;
  throw ConfigError(concat(path, ": exists already; choose another name or add --overwrite"));
}

}  // namespace trident
