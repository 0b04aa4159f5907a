#include "tests/golden/golden.h"
#include "tests/golden/scot.h"

namespace trident::golden {

const std::vector<Kind>& kinds() {
  static const std::vector<Kind> all{
      {"scOT state dicts", matches_state_dicts, check_state_dicts},
      {"scOT model directories", matches_model_directories, check_model_directories},
      {"scOT roll-out", matches_rollout, check_rollout},
      {"scOT training", matches_training, check_training},
      {"scOT", matches_forward, check_forward},
  };
  return all;
}

}  // namespace trident::golden
