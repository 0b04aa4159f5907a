/// Random initial flows, one family for each published data set. Their Fourier coefficients are computed as such wherever a formula
/// exists, so a finer grid adds modes and changes none.
#pragma once

#include "launch/generate/navier_stokes.h"
#include "runtime/tensor/random.h"

namespace trident {

enum class FlowFamily {
  sines,         // each velocity a sum of 10 x 10 sines with random amplitudes and phases
  gaussians,     // vorticity of 100 random Gaussians
  cells,         // vorticity constant in 10 x 10 cells
  vortex_sheet,  // vorticity on a perturbed curve
  brownian,      // velocities with the spectrum of a Brownian bridge
  shear_layer    // two opposite shear layers, perturbed
};

/// Vorticity, scaled so that the root mean square of a velocity component is `velocity_std`, and a tracer of 0 and 1 in random cells if
/// `with_tracer`.
Flow initial_flow(FlowFamily family, PeriodicGrid& grid, RandomKey key, double velocity_std, bool with_tracer);

}  // namespace trident
