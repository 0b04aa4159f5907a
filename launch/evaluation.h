/// Evaluating a model on data: one step over all samples, or roll-outs from one frame to another, against the truth and persistence.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "launch/data/loader.h"
#include "launch/error_table.h"
#include "launch/field_file.h"
#include "launch/physical_units.h"
#include "launch/run_config.h"
#include "models/model.h"
#include "parallel/mesh.h"

namespace trident {

/// What one case of `evaluation.cases` found out.
struct CaseResult {
  ConfigValue report = ConfigValue::map();  // as `trident evaluate --json` prints it
};

/// A file that keeps the fields of cases, each rank writing what it has of them: PREFIX and FIRST/input, FIRST-LAST/label,
/// FIRST-LAST/STEPS; the model's numbers.
struct KeptFields {
  const FieldFileWriter& file;
  std::string prefix;
};
/// What a case adds to such a file.
std::vector<FieldDescription> kept_fields(const RunFile& run, std::size_t index, const Dataset& dataset, DType dtype,
                                          const std::string& prefix);

class Evaluator {
 public:
  /// `loss`: of the run. `batch_size`: samples of all ranks that are computed at once. `units`: of all errors.
  Evaluator(Model model, LossDescription loss, const Computing& computing, std::int64_t batch_size, const Mesh& mesh,
            Units units = Units::normalized);

  /// Every sample, one step. Collective, as the next.
  ErrorTable validate(const std::shared_ptr<const Dataset>& dataset) const;
  /// Case number `index` of the run file on the trajectories of one data set.
  CaseResult run_case(const RunFile& run, std::size_t index, const Dataset& dataset, const std::optional<KeptFields>& kept) const;

 private:
  /// What a case collects while its batches are computed; a table a step, whose labels are those of the step or of the end.
  struct Collected {
    std::vector<ErrorTable> of_model, of_persistence;
    std::int64_t samples = 0;  // of the batches so far
    double time = 0.0;         // lead time, as the model is told
    PhysicalUnits physical, physical_input;
  };
  /// The output of the last step.
  Tensor collect(const Model& model, const std::vector<GlobalBatch>& batches, const std::vector<double>& fractions,
                 const Prepared& prepared, Collected& collected) const;
  void keep(const GlobalBatch& batch, const Tensor& output, std::int64_t first_sample, const std::vector<std::string>& names,
            const Dataset& dataset, const FieldFileWriter& file) const;
  ErrorTable table_for(const Dataset& dataset) const;
  LoaderOptions loader_options() const;
  bool shares_patches() const;
  PhysicalUnits units_of(const Dataset& dataset, std::vector<Channel> Problem::*channels) const;

  Model model_;
  LossDescription loss_;
  Computing computing_;
  std::int64_t batch_size_;
  Mesh mesh_;
  Units units_;
  Pass pass_;
};

/// Rows for people: model against persistence, the median relative error of each group.
std::string table_of(const std::vector<CaseResult>& cases);

}  // namespace trident
