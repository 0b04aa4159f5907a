#include "runtime/device/launch_only.h"

#include "runtime/error.h"

namespace trident {
namespace {

thread_local int depth = 0;

}  // namespace

LaunchOnly::LaunchOnly() { ++depth; }
LaunchOnly::~LaunchOnly() { --depth; }

bool is_launching_only() { return depth > 0; }

void require_waiting_allowed(const char* what) {
  if (depth == 0) return;
  throw DeviceError(concat(what, ": waits for the device or builds a plan where work is only launched; do it before or after this part"));
}

}  // namespace trident
