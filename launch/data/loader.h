/// Batches of a data set: the same order, partition into global batches and numbers whatever the mesh, read ahead.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "launch/data/dataset.h"
#include "models/model.h"
#include "parallel/mesh.h"

namespace trident {

struct LoaderOptions {
  std::int64_t global_batch_size = 1;       // samples, over all ranks and micro-batches
  int micro_batches = 1;                    // of each rank: gradient accumulation
  int rank = 0, num_ranks = 1;              // on the data axis
  PartOfField part{};                       // of each field: what this rank reads; all of it if there is none
  std::optional<Mesh> mesh{};               // whose domain ranks read resampled fields for each other; without one each rank reads them all
  std::optional<PatchingConfig> patches{};  // given: ranks of data and domain (`rank` is among them) share patches of each micro-batch
  bool patch_windows = true;                // and read the windows of their patches; false: the patches alone
  std::uint64_t seed = 0;
  bool shuffle = false;
  std::optional<std::int64_t> epochs{};  // null: without end
  DType dtype = DType::f32;              // of the batches; samples are f32 numbers
  int batches_ahead = 2;                 // read before they are asked for
  std::optional<int> threads{};          // that read; null: as many as this process has for a GPU, at most 8, else one beside its others
  Device device{};                       // of the batches: uploaded while earlier ones are computed with
};

/// A part of what one rank computes of a global batch: contiguous samples; parts differ by at most one sample.
struct MicroBatch {
  Fields fields;                      // batch extent 0 where this rank has no part
  std::int64_t first_sample = 0;      // its first sample's position in the global batch
  std::vector<std::int64_t> samples;  // numbers in the data set
};
struct GlobalBatch {
  std::vector<MicroBatch> micro_batches;
  std::int64_t size = 0;  // samples over all ranks
};

/// Which global batch comes next; all that a resumed run needs.
struct LoaderPosition {
  std::int64_t epoch = 0, batch = 0;
  static void visit(auto& self, auto& v) { v("epoch", self.epoch), v("batch", self.batch); }
  bool operator==(const LoaderPosition&) const = default;
};

/// The part of each field that this rank of a model holds: its rectangle of the last two axes.
PartOfField part_of_model(const Model& model);
/// What a rank of the mesh reads of the samples that a model is trained on, the seed and the size of batches aside.
LoaderOptions shared_out(const Model& model, const Mesh& mesh);

class Loader {
 public:
  Loader(std::shared_ptr<const Dataset> dataset, const LoaderOptions& options, LoaderPosition position = {});
  ~Loader();

  /// This rank's part of the next global batch; nothing after the last epoch. Rethrows what the reading thread met. Collective over the
  /// domain ranks of options.mesh, as the constructor. A batch on a GPU is held until the GPU is done with it: its memory is next written
  /// beside what the GPU computes.
  std::optional<GlobalBatch> next();
  LoaderPosition position() const;  // of the batch that next() will return
  std::int64_t batches_per_epoch() const;

 private:
  class Prefetch;
  class Upload;
  std::unique_ptr<Prefetch> prefetch_;
};

}  // namespace trident
