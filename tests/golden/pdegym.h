/// Kinds of cases that check what the data readers give: folders like those of goldens/pdegym.
#pragma once

#include "tests/golden/golden.h"

namespace trident::golden {

/// problem.json and samples.safetensors: samples of one data set, or of several that follow each other.
bool matches_problem(const Folder& folder);
Rows check_problem(Folder& folder, const Options& options);
/// chunks.json, samples.safetensors and the chunk files of a data set.
bool matches_chunks(const Folder& folder);
Rows check_chunks(Folder& folder, const Options& options);
/// refused.json: what must be refused, and what must not.
bool matches_refused(const Folder& folder);
Rows check_refused(Folder& folder, const Options& options);

/// Nothing but data files: no case of its own.
bool matches_data_files(const Folder& folder);
Rows check_data_files(Folder& folder, const Options& options);

/// run.yaml and case.json: `trident train` gives the recorded curve, evaluations and last weights.
bool matches_training_run(const Folder& folder);
Rows check_training_run(Folder& folder, const Options& options);
/// run.yaml and evaluation.json: `trident evaluate` gives the recorded metrics and predictions.
bool matches_evaluation(const Folder& folder);
Rows check_evaluation(Folder& folder, const Options& options);

}  // namespace trident::golden
