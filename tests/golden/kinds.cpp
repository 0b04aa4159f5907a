#include "tests/golden/golden.h"
#include "tests/golden/neuralop.h"
#include "tests/golden/pdegym.h"
#include "tests/golden/scot.h"

namespace trident::golden {

const std::vector<Kind>& kinds() {
  static const std::vector<Kind> all{
      {"neuralop checkpoint", matches_neuralop_checkpoint, check_neuralop_checkpoint, false, true},
      {"neural operator", matches_neuralop_model, check_neuralop_model, false, true},
      {"neural operator at other resolutions", matches_neuralop_resolutions, check_neuralop_resolutions, false, true},
      {"spectral convolution", matches_spectral_conv, check_spectral_conv, false, true},
      {"ranks of factorisations", matches_ranks, check_ranks},
      {"norms as losses", matches_neuralop_losses, check_neuralop_losses, false, true},
      {"multi-grid patches", matches_neuralop_patches, check_neuralop_patches, false, true},
      {"neural operator on patches", matches_neuralop_patched_model, check_neuralop_patched_model, false, true},
      {"neuralop optimiser", matches_neuralop_optimizer, check_neuralop_optimizer, false, true},
      {"neuralop schedules", matches_neuralop_schedules, check_neuralop_schedules},
      {"neuralop normaliser", matches_neuralop_normalizer, check_neuralop_normalizer},
      {"neuralop training", matches_neuralop_training, check_neuralop_training, false, true},
      {"training run", matches_training_run, check_training_run, false, true},
      {"evaluation", matches_evaluation, check_evaluation, false, true},
      {"scOT state dicts", matches_state_dicts, check_state_dicts},
      {"scOT model directories", matches_model_directories, check_model_directories, false, true},
      {"scOT roll-out", matches_rollout, check_rollout, false, true},
      {"scOT training", matches_training, check_training, false, true},
      {"scOT", matches_forward, check_forward, false, true},
      {"data set", matches_problem, check_problem, false, true},
      {"chunk files", matches_chunks, check_chunks, false, true},
      {"refused data sets", matches_refused, check_refused, true},
      {"data files, which cases name", matches_data_files, check_data_files},
  };
  return all;
}

}  // namespace trident::golden
