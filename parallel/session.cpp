#include "parallel/session.h"

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <thread>

#include "parallel/cuda_aware_communicator.h"
#include "parallel/messages.h"
#include "parallel/mpi_communicator.h"
#include "parallel/mpi_job.h"
#include "parallel/nccl_communicator.h"
#include "parallel/staged_communicator.h"
#include "parallel/watchdog.h"
#include "runtime/device/cuda_device.h"
#include "runtime/error.h"

namespace trident {
namespace {

#ifdef TRIDENT_WITH_MPI
constexpr bool kHasMpi = true;
#else
constexpr bool kHasMpi = false;
#endif

#ifdef TRIDENT_WITH_NCCL
constexpr bool kHasNccl = true;
#else
constexpr bool kHasNccl = false;
#endif

int number_from(const char* variable) {
  const char* text = std::getenv(variable);
  return text == nullptr ? 0 : std::atoi(text);
}

/// mpirun sets the first, srun --mpi=pmix the second, other MPI libraries' launchers the third.
bool is_launched() {
  return std::getenv("OMPI_COMM_WORLD_SIZE") != nullptr || std::getenv("PMIX_RANK") != nullptr ||
         (!mpi::needs_pmix() && std::getenv("PMI_RANK") != nullptr);
}

}  // namespace

Session::Session() {
  if constexpr (kHasMpi) {
    if (is_launched()) {
      mpi::start();
      world_ = mpi::world();
      host_ = mpi::ranks_of_this_host();
      if (world_->size() > 1) watchdog_ = Watchdog::start(*world_, [this](const std::exception& error) { fail(error); });
      world_->set_watchdog(watchdog_);
      host_->set_watchdog(watchdog_);
      return;
    }
  }
  const int tasks = std::max(number_from("SLURM_STEP_NUM_TASKS"), number_from("OMPI_COMM_WORLD_SIZE"));
  if (tasks > 1) {
    throw CommunicationError(concat("job: the launcher started ", tasks, " processes that cannot reach each other; ",
                                    kHasMpi ? "use srun --mpi=pmix, or mpirun" : "this build has no MPI: configure with -DTRIDENT_MPI=ON"));
  }
  world_ = make_self_communicator();
  host_ = make_self_communicator();
}

Session::Session(std::shared_ptr<Communicator> alone) : ends_job_(false), world_(std::move(alone)), host_(make_self_communicator()) {}

Session::~Session() {
  if (!ends_job_) return;
  if constexpr (kHasMpi) {
    if (watchdog_) watchdog_->announce_end();
    mesh_.reset();
    world_ = nullptr;
    host_ = nullptr;
    mpi::finish();
  }
}

std::string Session::use_device(Device device) {
  if (device.kind == Device::Kind::cpu || world_->size() == 1 || device_ == device) return "";
  device_ = device;
  if constexpr (kHasNccl) {
    if (!any_of(*world_, host_->size() > cuda_device_count())) {
      world_ = make_nccl_communicator(world_, device, [this](const std::exception& error) { fail(error); });
      return "by NCCL";
    }
  }
  if constexpr (kHasMpi) {
    if (!any_of(*world_, !mpi::is_cuda_aware())) {
      world_ = make_cuda_aware_communicator(world_, device);
      return "by MPI, which is CUDA-aware";
    }
  }
  world_ = make_staged_communicator(world_, device);
  return "by MPI, through host memory";
}

void Session::set_mesh(Mesh mesh) {
  mesh_ = std::move(mesh);
  if (watchdog_) watchdog_->set_place(to_string(*mesh_));
}

std::string Session::prefix() const {
  if (world_->size() == 1) return "";
  return concat("[rank ", world_->rank(), mesh_ ? " | " + to_string(*mesh_) : "", "] ");
}

int Session::fail(const std::exception& error, int code) const {
  // An error of the run file is met by all ranks at once: the others give rank 0 a moment to say it once and end the job.
  if (watchdog_) watchdog_->announce_failure();
  if (world_->rank() != 0) std::this_thread::sleep_for(std::chrono::milliseconds(300));
  std::cerr << concat(prefix(), "error: ", error.what(), "\n") << std::flush;
  if constexpr (kHasMpi) {
    if (world_->size() > 1) mpi::abort(code);
  }
  return code;
}

int run_job(const std::function<int(Session&)>& job) {
  try {
    Session session;
    try {
      return job(session);
    } catch (const std::exception& error) {
      return session.fail(error);
    }
  } catch (const std::exception& error) {  // of the session itself
    std::cerr << "error: " << error.what() << std::endl;
    return 1;
  }
}

}  // namespace trident
