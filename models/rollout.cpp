#include "models/rollout.h"

#include "runtime/error.h"
#include "runtime/ops/elementwise.h"
#include "runtime/ops/shape.h"

namespace trident {

std::vector<double> equal_steps(std::int64_t n) { return std::vector<double>(static_cast<std::size_t>(n), 1.0 / static_cast<double>(n)); }

void roll_out(const Model& model, const Prepared& prepared, Fields fields, const std::vector<double>& fractions, const Pass& pass,
              const std::function<void(std::size_t step, const Tensor& output)>& visit) {
  const int in = model->num_channels(), out = model->num_out_channels();
  if (fractions.size() > 1 && in < out) {
    throw ConfigError(concat("roll-out: the model has ", in, " input and ", out,
                             " output channels, so its output does not determine its next ", "input; ask for one step"));
  }
  const Tensor lead_time = fields.time.defined() ? cast(fields.time, parameter_type(pass.precision)) : Tensor{};
  for (std::size_t step = 0; step < fractions.size(); ++step) {
    if (lead_time.defined()) fields.time = fractions[step] == 1.0 ? lead_time : affine(lead_time, fractions[step]);
    const Tensor output = model(fields, prepared, pass);
    visit(step, output);
    if (step + 1 == fractions.size()) return;
    fields.input = in > out ? concatenate({output, cast(slice(fields.input, 1, out, in), output.dtype())}, 1) : output;
  }
}

}  // namespace trident
