#include "tests/golden/golden.h"
#include "tests/golden/neuralop_comparison.h"
#include "tests/golden/pdegym.h"
#include "tests/golden/scot.h"

namespace trident::golden {

const std::vector<Kind>& kinds() {
  static const std::vector<Kind> all{
      {"neuralop losses", matches_losses, check_losses},
      {"training run", matches_training_run, check_training_run},
      {"evaluation", matches_evaluation, check_evaluation},
      {"scOT state dicts", matches_state_dicts, check_state_dicts},
      {"scOT model directories", matches_model_directories, check_model_directories},
      {"scOT roll-out", matches_rollout, check_rollout},
      {"scOT training", matches_training, check_training, false, true},
      {"scOT", matches_forward, check_forward},
      {"data set", matches_problem, check_problem},
      {"chunk files", matches_chunks, check_chunks},
      {"refused data sets", matches_refused, check_refused, true},
  };
  return all;
}

}  // namespace trident::golden
