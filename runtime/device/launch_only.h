/// Parts of the work that must not wait for the device, because they are captured in a graph or overlap with the host's work.
#pragma once

namespace trident {

/// While it lives, what waits for the device or builds plans on this thread throws DeviceError: on the CPU too, so that tests find it
/// there.
class LaunchOnly {
 public:
  LaunchOnly();
  ~LaunchOnly();
  LaunchOnly(const LaunchOnly&) = delete;
  LaunchOnly& operator=(const LaunchOnly&) = delete;
};

/// Whether this thread is inside of one.
bool is_launching_only();
/// Throws DeviceError naming `what` inside LaunchOnly.
void require_waiting_allowed(const char* what);

}  // namespace trident
