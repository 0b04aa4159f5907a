/// Asking a run to stop: SIGTERM and SIGUSR1 only set a flag, which the trainer reads between two steps.
#pragma once

namespace trident {

/// Catches both signals while it lives.
class StopSignal {
 public:
  StopSignal();
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  /// The number of the signal that has arrived; 0 if none.
  static int received();
};

}  // namespace trident
