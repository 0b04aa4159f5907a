#include "launch/slurm/environment.h"

#include <charconv>
#include <cstdlib>
#include <initializer_list>
#include <string_view>

namespace trident {
namespace {

/// The first of the variables that holds a number. SLURM_TASKS_PER_NODE reads "4(x2)" or "4,3": the leading number is enough.
int number_from(std::initializer_list<const char*> names, int otherwise) {
  for (const char* name : names) {
    const char* text = std::getenv(name);
    if (text == nullptr) continue;
    const std::string_view word(text);
    int number = 0;
    if (std::from_chars(word.data(), word.data() + word.size(), number).ec == std::errc()) return number;
  }
  return otherwise;
}

}  // namespace

LaunchedProcess launched_process() {
  LaunchedProcess process;
  // Slurm sets its variables in the batch script too; SLURM_STEP_NUM_TASKS belongs to what srun started.
  const bool stepped = std::getenv("SLURM_STEP_NUM_TASKS") != nullptr;
  if (std::getenv("OMPI_COMM_WORLD_SIZE") == nullptr && std::getenv("PMI_SIZE") == nullptr && !stepped) return process;
  process.rank = number_from({"OMPI_COMM_WORLD_RANK", "PMI_RANK", "SLURM_PROCID"}, 0);
  process.size = number_from({"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"}, 1);
  process.local_rank = number_from({"OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "SLURM_LOCALID"}, 0);
  process.local_size = number_from({"OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS", "SLURM_STEP_TASKS_PER_NODE"}, process.size);
  return process;
}

}  // namespace trident
