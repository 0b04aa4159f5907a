#include "launch/generate/navier_stokes.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "runtime/error.h"

namespace trident {
namespace {

constexpr double kTwoPi = 2.0 * std::numbers::pi;

/// i * factor * z without the checks for NaN that the product of two complex numbers carries.
Complex times_i(double factor, Complex z) { return {-factor * z.imag(), factor * z.real()}; }

double norm_squared(std::span<const Complex> values) {
  double sum = 0.0;
  for (const Complex& value : values) sum += value.real() * value.real() + value.imag() * value.imag();
  return sum;
}

}  // namespace

NavierStokes::NavierStokes(const FlowParameters& parameters) : parameters_(parameters), grid_(parameters.resolution) {
  for_each_mode(grid_, [&](int kx, int ky, std::size_t) {
    const double k2 = static_cast<double>(kx * kx + ky * ky);
    const bool spared = k2 <= parameters.viscous_above * parameters.viscous_above;
    damping_.push_back(spared ? 0.0 : parameters.viscosity * kTwoPi * kTwoPi * k2);
  });
  decay_.resize(grid_.modes());
  for (auto* modes : {&modes_u_, &modes_v_}) modes->resize(grid_.modes());
  for (auto* field : {&u_, &v_, &c_, &product_, &other_product_}) field->resize(grid_.points());
}

void NavierStokes::velocity_modes(std::span<const Complex> vorticity) {
  for_each_mode(grid_, [&](int kx, int ky, std::size_t index) {
    const double k2 = static_cast<double>(kx * kx + ky * ky);
    const double inverse = k2 == 0.0 ? 0.0 : 1.0 / (kTwoPi * k2);
    modes_u_[index] = times_i(ky * inverse, vorticity[index]);
    modes_v_[index] = times_i(-kx * inverse, vorticity[index]);
  });
}

void NavierStokes::velocity(const Flow& flow, std::span<double> u, std::span<double> v) {
  velocity_modes(flow.vorticity);
  grid_.to_points(modes_u_.data(), u.data());
  grid_.to_points(modes_v_.data(), v.data());
}

/// The transport terms. That of the vorticity is the curl of div(u u), which needs two products: u v and v v - u u.
void NavierStokes::rates(std::span<const Complex> state, std::span<Complex> result) {
  const std::size_t modes = grid_.modes();
  velocity_modes(state.first(modes));
  grid_.to_points(modes_u_.data(), u_.data());
  grid_.to_points(modes_v_.data(), v_.data());
  for (std::size_t point = 0; point < u_.size(); ++point) {
    product_[point] = u_[point] * v_[point];
    other_product_[point] = v_[point] * v_[point] - u_[point] * u_[point];
  }
  grid_.to_modes(product_.data(), modes_u_.data());
  grid_.to_modes(other_product_.data(), modes_v_.data());
  for_each_mode(grid_, [&](int kx, int ky, std::size_t index) {
    result[index] =
        kTwoPi * kTwoPi * (static_cast<double>(kx * kx - ky * ky) * modes_u_[index] + static_cast<double>(kx * ky) * modes_v_[index]);
  });
  if (state.size() == modes) return;
  grid_.to_points(state.data() + modes, c_.data());
  for (std::size_t point = 0; point < u_.size(); ++point) {
    product_[point] = u_[point] * c_[point];
    other_product_[point] = v_[point] * c_[point];
  }
  grid_.to_modes(product_.data(), modes_u_.data());
  grid_.to_modes(other_product_.data(), modes_v_.data());
  for_each_mode(grid_, [&](int kx, int ky, std::size_t index) {
    result[modes + index] = times_i(-kTwoPi * kx, modes_u_[index]) + times_i(-kTwoPi * ky, modes_v_[index]);
  });
}

void NavierStokes::set_decay(double step) {
  if (step == step_of_decay_) return;
  for (std::size_t index = 0; index < damping_.size(); ++index) decay_[index] = std::exp(-0.5 * step * damping_[index]);
  step_of_decay_ = step;
}

/// One step of RK4 in the interaction picture, with the third-order solution that costs no evaluation more because its last slope is the
/// first of the next step (Balac, Mahe 2013, "Embedded Runge-Kutta scheme for step-size control in the interaction picture method").
/// Leaves the result in stage_ and its slope in end_slope_; returns the estimated relative error.
double NavierStokes::try_step(double step) {
  set_decay(step);
  const std::size_t modes = grid_.modes(), size = state_.size();
  const auto decay = [&](std::size_t index) { return decay_[index < modes ? index : index - modes]; };
  // Everything is carried to the half step: sum_ gathers the result there, end_slope_ keeps the state; stage_ is where a slope is taken.
  for (std::size_t k = 0; k < size; ++k) {
    const Complex carried = decay(k) * state_[k], slope = step * decay(k) * slope_[k];
    sum_[k] = carried + slope / 6.0;
    stage_[k] = carried + 0.5 * slope;
    end_slope_[k] = carried;
  }
  rates(stage_, middle_slope_);
  for (std::size_t k = 0; k < size; ++k) {
    sum_[k] += step / 3.0 * middle_slope_[k];
    stage_[k] = end_slope_[k] + 0.5 * step * middle_slope_[k];
  }
  rates(stage_, middle_slope_);
  for (std::size_t k = 0; k < size; ++k) {
    sum_[k] += step / 3.0 * middle_slope_[k];
    stage_[k] = decay(k) * (end_slope_[k] + step * middle_slope_[k]);
  }
  rates(stage_, middle_slope_);
  for (std::size_t k = 0; k < size; ++k) stage_[k] = decay(k) * sum_[k] + step / 6.0 * middle_slope_[k];
  rates(stage_, end_slope_);
  for (std::size_t k = 0; k < size; ++k) sum_[k] = step / 10.0 * (middle_slope_[k] - end_slope_[k]);
  double error = 0.0;
  for (std::size_t first = 0; first < size; first += modes) {
    const double scale = norm_squared(std::span(stage_).subspan(first, modes));
    if (!std::isfinite(scale)) return std::numeric_limits<double>::infinity();
    if (scale > 0.0) error = std::max(error, norm_squared(std::span(sum_).subspan(first, modes)) / scale);
  }
  return std::sqrt(error);
}

void NavierStokes::advance(Flow& flow, double duration) {
  state_ = flow.vorticity;
  state_.insert(state_.end(), flow.tracer.begin(), flow.tracer.end());
  for (auto* values : {&slope_, &stage_, &sum_, &middle_slope_, &end_slope_}) values->resize(state_.size());
  rates(state_, slope_);
  // The flow remembers its step, not the solver: what a flow becomes must not depend on what was solved before it.
  if (flow.step <= 0.0) flow.step = duration / 4.0;
  double left = duration;
  while (left > 0.0) {
    const double step = left / std::ceil(left / std::min(flow.step, left));  // equal ones to the end: the last is no sliver
    const double error = try_step(step);
    flow.step = step * (error > 0.0 ? std::clamp(0.9 * std::pow(parameters_.tolerance / error, 0.25), 0.2, 4.0) : 4.0);
    if (flow.step < 1e-9 * duration)
      throw Error("generate: the flow asks for ever smaller time steps; raise the viscosity or the resolution");
    if (error > parameters_.tolerance) continue;
    std::swap(state_, stage_);
    std::swap(slope_, end_slope_);
    left = left - step < 1e-12 * duration ? 0.0 : left - step;
  }
  const auto end_of_vorticity = state_.begin() + static_cast<std::ptrdiff_t>(grid_.modes());
  flow.vorticity.assign(state_.begin(), end_of_vorticity);
  flow.tracer.assign(end_of_vorticity, state_.end());
}

namespace {

/// Half the mean over the square of the square of a field, each mode weighted by weight(k^2).
template <class Weight>
double half_mean_square(const PeriodicGrid& grid, std::span<const Complex> modes, Weight weight) {
  double sum = 0.0;
  for_each_mode(grid, [&](int kx, int ky, std::size_t index) {
    // Coefficients with ky > 0 stand for their mirror image too.
    sum += (ky == 0 ? 0.5 : 1.0) * weight(static_cast<double>(kx * kx + ky * ky)) * std::norm(modes[index]);
  });
  return sum;
}

}  // namespace

double kinetic_energy(const PeriodicGrid& grid, const Flow& flow) {
  return half_mean_square(grid, flow.vorticity, [](double k2) { return k2 == 0.0 ? 0.0 : 1.0 / (kTwoPi * kTwoPi * k2); });
}

double enstrophy(const PeriodicGrid& grid, const Flow& flow) {
  return half_mean_square(grid, flow.vorticity, [](double) { return 1.0; });
}

}  // namespace trident
