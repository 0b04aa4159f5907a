/// Evaluating a model on data: one step over all samples, or roll-outs from one frame to another, against the truth and persistence.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "checkpoint/safetensors_writer.h"
#include "launch/data/loader.h"
#include "launch/error_table.h"
#include "launch/run_config.h"
#include "models/model.h"
#include "parallel/mesh.h"

namespace trident {

/// What one case of `evaluation.cases` found out.
struct CaseResult {
  ConfigValue report = ConfigValue::map();  // as `trident evaluate --json` prints it
  std::vector<NamedTensor> fields;          // on rank 0, if wanted: FIRST/input, FIRST-LAST/label, FIRST-LAST/STEPS; the model's numbers
};

enum class KeepFields { no, yes };

class Evaluator {
 public:
  /// `loss`: of the run. `batch_size`: samples of all ranks that are computed at once.
  Evaluator(Model model, LossDescription loss, DType dtype, std::int64_t batch_size, const Mesh& mesh);

  /// Every sample, one step. Collective, as the next.
  ErrorTable validate(const std::shared_ptr<const Dataset>& dataset) const;
  /// Case number `index` of the run file on the trajectories of one data set.
  CaseResult run_case(const RunFile& run, std::size_t index, const Dataset& dataset, KeepFields keep) const;

 private:
  /// What a case collects while its batches are computed; a table a step, whose labels are those of the step or of the end.
  struct Collected {
    std::vector<ErrorTable> of_model, of_persistence;
    std::vector<Tensor> inputs, labels, outputs;  // on rank 0, if kept
    double time = 0.0;                            // lead time, as the model is told
  };
  void collect(const std::vector<GlobalBatch>& batches, const std::vector<double>& fractions, const Prepared& prepared, const Dataset& dataset, KeepFields keep,
               Collected& collected) const;
  ErrorTable table_for(const Dataset& dataset) const;
  /// Whole fields of `all` samples, on rank 0. Collective.
  Tensor gathered(const Tensor& mine, std::int64_t all, const Dataset& dataset) const;

  Model model_;
  LossDescription loss_;
  DType dtype_;
  std::int64_t batch_size_;
  Mesh mesh_;
  Pass pass_;
};

/// Rows for people: model against persistence, the median relative error of each group.
std::string table_of(const std::vector<CaseResult>& cases);

}  // namespace trident
