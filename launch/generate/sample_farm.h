/// Samples of a data set that is made here: solved by all ranks and their threads, written in order by rank 0.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace trident {

class Communicator;

/// The file that a set becomes.
class SampleWriter {
 public:
  virtual ~SampleWriter() = default;  // without commit(): nothing remains
  virtual void write(std::int64_t index, const float* values) = 0;
  virtual void commit() = 0;
};

struct SampleFarm {
  std::string name;  // for the reports: "NS-Sines"
  std::string samples = "trajectories";
  std::int64_t first = 0, count = 0;  // numbers of the samples: those alone, and the seed, say what they are
  std::int64_t floats = 0;            // of one sample
};

/// Solves sample `number` into `values`.
using SolveSample = std::function<void(std::int64_t number, float* values)>;

/// `make_solver` is called once a thread. `writer`: of rank 0, which reports on standard error. Collective; the data are the same on any
/// number of ranks and threads. SIGTERM ends it with an Error, nothing written.
void farm_samples(const SampleFarm& farm, Communicator& world, const std::function<SolveSample()>& make_solver,
                  std::unique_ptr<SampleWriter> writer);

}  // namespace trident
