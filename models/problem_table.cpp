#include "models/problem_table.h"

// Sources of the numbers: Herde et al. 2024, "Poseidon: Efficient Foundation Models for PDEs", and its public loaders, whose constants are
// part of the published models: a digit more or less and the models see other numbers.

namespace trident {
namespace {

constexpr double kTracerMean = 0.19586183, kTracerStd = 0.37;

Channel from_file(const char* name, const char* variable, int index, double mean = 0.0, double std = 1.0) {
  return {.name = name, .variable = variable, .index = index, .mean = mean, .std = std};
}

Channel constant(const char* name, double value, double mean, double std) {
  return {.name = name, .source = Source::constant, .value = value, .mean = mean, .std = std};
}

TimeSettings steps_of(int size, int count) { return {.max_num_time_steps = count, .time_step_size = size}; }

/// Two velocities between a density of 1 and a pressure of 0 that nobody predicts.
Problem incompressible(const char* name, const char* variable, const char* axes, std::int64_t trajectories, Channel u, Channel v) {
  Channel pressure = constant("p", 0.0, 0.0, 0.185);
  pressure.masked = true;
  Problem problem{.name = name, .variables = {{variable, axes}}, .group_sizes = {1, 2, 1}, .mask = MaskRule::channels, .time_scale = 20.0};
  problem.input = {constant("rho", 1.0, 0.8, 0.31), std::move(u), std::move(v), std::move(pressure)};
  problem.output = problem.input;
  problem.times = steps_of(2, 7);
  problem.splits = {trajectories, 120, 240};
  return problem;
}

ProblemEntry navier_stokes(const char* name, const char* reference, std::int64_t trajectories = 20000, const char* axes = "ntcyx") {
  return {.problem = incompressible(name, "velocity", axes, trajectories, from_file("u", "velocity", 0, 0.0, 0.391),
                                    from_file("v", "velocity", 1, 0.0, 0.356)),
          .reference = std::string("fluids.incompressible.") + reference,
          .out = steps_of(2, 10)};
}

ProblemEntry piecewise_constants() {
  ProblemEntry entry = navier_stokes("NS-PwC", "PiecewiseConstants");
  entry.tracer = from_file("tracer", "velocity", 2, kTracerMean, kTracerStd);
  return entry;
}

ProblemEntry kolmogorov_flow() {
  ProblemEntry entry{
      .problem = incompressible("FNS-KF", "solution", "ntcyx", 20000, from_file("u", "solution", 0, -2.2424793e-13, 0.22017328),
                                from_file("v", "solution", 1, 4.1510376e-12, 0.22078253)),
      .reference = "fluids.incompressible.forcing.KolmogorovFlow",
      .out = steps_of(2, 10)};
  const Channel forcing{.name = "g", .source = Source::kolmogorov_forcing, .mean = -1.2996679288335145e-09, .std = 0.0707106739282608};
  entry.problem.input.push_back(forcing);
  entry.problem.output.push_back(forcing);
  entry.problem.group_sizes.push_back(1);
  return entry;
}

/// Density, two velocities and pressure from one variable, in its first four channels.
Problem compressible(const char* name, const char* variable, const Splits& splits, const std::array<double, 4>& mean,
                     const std::array<double, 4>& std) {
  Problem problem{.name = name,
                  .variables = {{variable, "ntcyx"}},
                  .group_sizes = {1, 2, 1},
                  .mask = MaskRule::channels,
                  .time_scale = 20.0,
                  .times = steps_of(2, 7),
                  .splits = splits};
  const std::array<const char*, 4> names{"rho", "u", "v", "p"};
  for (std::size_t index = 0; index < names.size(); ++index) {
    problem.input.push_back(from_file(names[index], variable, static_cast<int>(index), mean[index], std[index]));
  }
  problem.output = problem.input;
  return problem;
}

ProblemEntry euler(const char* name, const char* reference, double mean_pressure) {
  ProblemEntry entry{.problem = compressible(name, "data", {10000, 120, 240}, {0.8, 0.0, 0.0, 0.0}, {0.31, 0.391, 0.356, 0.185}),
                     .reference = std::string("fluids.compressible.") + reference,
                     .out = steps_of(2, 10)};
  entry.problem.input[3].shift = entry.problem.output[3].shift = mean_pressure;
  return entry;
}

ProblemEntry richtmyer_meshkov() {
  return {.problem = compressible("CE-RM", "solution", {1260, 100, 130}, {1.1964245, -7.164812e-06, 2.8968952e-06, 1.5648036},
                                  {0.5543239, 0.24304213, 0.2430597, 0.89639103}),
          .reference = "fluids.compressible.RichtmyerMeshkov",
          .out = steps_of(2, 10),
          .ignores_tracer = true};
}

ProblemEntry rayleigh_taylor() {
  Problem problem = compressible("GCE-RT", "solution", {1260, 100, 130}, {0.8970493, 4.0316996e-13, -1.3858967e-13, 0.7133829},
                                 {0.12857835, 0.014896976, 0.014896975, 0.21293919});
  problem.input.push_back(from_file("g", "solution", 5, -1.7055787, 0.40131348));  // the gravitational potential; channel 4 is a tracer
  problem.output = problem.input;
  problem.group_sizes.push_back(1);
  problem.time_scale = 10.0;
  problem.times = steps_of(1, 7);
  return {.problem = std::move(problem),
          .reference = "fluids.compressible.gravity.RayleighTaylor",
          .out = steps_of(1, 10),
          .ignores_tracer = true};
}

/// The wave speed c has no frames; it is the last channel of input and label.
ProblemEntry wave(const char* name, const char* reference, double time_scale, Channel u, Channel c) {
  Problem problem{.name = name,
                  .variables = {{"solution", "ntyx"}, {"c", "nyx"}},
                  .input = {std::move(u), std::move(c)},
                  .group_sizes = {1, 1},
                  .time_scale = time_scale,
                  .times = steps_of(2, 7),
                  .splits = {10512, 60, 240}};
  problem.output = problem.input;
  return {.problem = std::move(problem), .reference = reference};
}

ProblemEntry wave_layer() {
  ProblemEntry entry = wave("Wave-Layer", "wave.Layer", 20.0, from_file("u", "solution", 0, 0.03467443221585092, 0.10442421752963911),
                            from_file("c", "c", 0, 3498.5644380917424, 647.843958567462));
  entry.out = steps_of(2, 10);
  return entry;
}

ProblemEntry wave_gauss() {
  return wave("Wave-Gauss", "wave.Gaussians", 15.0, from_file("u", "solution", 0, 0.0334376316, 0.1171879068),
              from_file("c", "c", 0, 2618.4593933, 601.51658913));
}

ProblemEntry allen_cahn() {
  Problem problem{.name = "ACE",
                  .variables = {{"solution", "ntyx"}},
                  .input = {from_file("u", "solution", 0, 0.002484262, 0.65351176)},
                  .group_sizes = {1},
                  .time_scale = 19.0,
                  .times = steps_of(2, 7),
                  .splits = {15000, 60, 240}};
  problem.output = problem.input;
  return {.problem = std::move(problem), .reference = "reaction_diffusion.AllenCahn", .out = steps_of(2, 9)};
}

ProblemEntry steady(Problem problem, const char* reference) {
  problem.steady = true;
  return {.problem = std::move(problem), .reference = reference};
}

ProblemEntry airfoil() {
  return steady({.name = "SE-AF",
                 .variables = {{"solution", "ncyx"}},
                 .input = {from_file("shape", "solution", 0)},
                 .output = {from_file("rho", "solution", 1, 0.92984116, 0.10864315)},
                 .group_sizes = {1},
                 .mask = MaskRule::input_is_one,
                 .splits = {10869, 120, 240}},
                "fluids.compressible.steady.Airfoil");
}

ProblemEntry poisson() {
  return steady({.name = "Poisson-Gauss",
                 .variables = {{"source", "nyx"}, {"solution", "nyx"}},
                 .input = {from_file("f", "source", 0, 0.014822142414492256, 4.755138816607612)},
                 .output = {from_file("u", "solution", 0, 0.0005603458434937093, 0.02401226126952699)},
                 .group_sizes = {1},
                 .splits = {20000, 120, 240}},
                "elliptic.poisson.Gaussians");
}

ProblemEntry helmholtz() {
  Channel a = from_file("a", "a", 0);
  a.shift = 1.0;
  return steady({.name = "Helmholtz",
                 .variables = {{"a", "yx"}, {"bc", ""}, {"u", "yx"}},
                 .sample_groups = "Sample_",
                 .input = {std::move(a), from_file("bc", "bc", 0)},
                 .output = {from_file("u", "u", 0, 0.11523915668552, 0.8279975746000605)},
                 .group_sizes = {1},
                 .splits = {19675, 128, 512}},
                "elliptic.Helmholtz");
}

}  // namespace

const std::vector<ProblemEntry>& problem_table() {
  static const std::vector<ProblemEntry> table{
      navier_stokes("NS-Sines", "Sines"),
      navier_stokes("NS-Gauss", "Gaussians"),
      piecewise_constants(),
      navier_stokes("NS-SVS", "VortexSheet"),
      navier_stokes("NS-BB", "BrownianBridge"),
      navier_stokes("NS-SL", "ShearLayer", 40000, "ntcxy"),
      kolmogorov_flow(),
      euler("CE-RP", "Riemann", 0.215),
      euler("CE-CRP", "RiemannCurved", 0.553),
      euler("CE-KH", "KelvinHelmholtz", 1.0),
      euler("CE-Gauss", "Gaussians", 2.513),
      euler("CE-RPUI", "RiemannKelvinHelmholtz", 1.33),
      richtmyer_meshkov(),
      rayleigh_taylor(),
      airfoil(),
      wave_layer(),
      wave_gauss(),
      allen_cahn(),
      poisson(),
      helmholtz(),
  };
  return table;
}

}  // namespace trident
