/// Which of the optimiser's groups a parameter belongs to, by its name alone, as the reference's trainer decides.
#pragma once

#include <array>
#include <string_view>
#include <utility>

namespace trident {

enum class OptimizerGroup {
  decay,               // weight decay
  no_decay,            // biases and norms
  embedding_recovery,  // own learning rate, weight decay
  time_conditioning    // own learning rate: the conditional norms
};
inline auto config_names(OptimizerGroup) {
  return std::array{std::pair{OptimizerGroup::decay, "decay"}, std::pair{OptimizerGroup::no_decay, "no_decay"},
                    std::pair{OptimizerGroup::embedding_recovery, "embedding_recovery"},
                    std::pair{OptimizerGroup::time_conditioning, "time_conditioning"}};
}

std::string_view name_of(OptimizerGroup group);

/// The groups of fine-tuning that have a learning rate of their own; without them their parameters fall to decay and no_decay.
struct FineTuningGroups {
  bool embedding_recovery = false, time_conditioning = false;
};

/// "bias" anywhere in the name means no decay, so the weights of `continuous_position_bias_mlp` are not decayed.
OptimizerGroup optimizer_group(std::string_view name, FineTuningGroups fine_tuning = {});

}  // namespace trident
