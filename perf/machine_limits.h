/// What this machine can do at most, measured in the run that is compared with it.
#pragma once

namespace trident::perf {

/// f32 floating-point operations a second (a multiply-add is two) of the current number of threads, registers only. Measured once.
double peak_flops();
/// Bytes a second of y = a x + y over arrays far larger than the caches: two reads and a write. Measured once.
double stream_bandwidth();

}  // namespace trident::perf
