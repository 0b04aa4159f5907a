/// The OpenMP threads of this process. Several ranks on a machine share its cores: the launch folder sets each one's part.
#pragma once

namespace trident {

/// Threads that kernels and the libraries below them (oneDNN, FFTW) use.
int num_threads();
/// Throws ConfigError if `threads` is below 1.
void set_num_threads(int threads);
/// Cores that this process may run on (its affinity mask).
int available_cores();

}  // namespace trident
