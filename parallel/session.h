/// This process's place in the job: alone, or one rank of many that mpirun or srun started.
#pragma once

#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "parallel/mesh.h"

namespace trident {

/// Held for as long as the program runs. Initialises MPI if a launcher started this process, and only then: MPI costs a third of
/// a second and files that a single process does not need. Throws CommunicationError when started by a launcher that this build cannot
/// join.
class Session {
 public:
  Session();
  /// This process by itself, within a job whose own session goes on.
  static Session alone() { return Session(make_self_communicator()); }
  ~Session();  // ends MPI; all ranks come here
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  /// All ranks of the job; one rank when no launcher started it.
  const std::shared_ptr<Communicator>& world() const { return world_; }
  /// The ranks of this job on this host.
  Communicator& host() const { return *host_; }

  /// Computing happens on this device: from then on the ranks also exchange its tensors, through NCCL if each has a GPU of its own, else
  /// by MPI: from device to device if MPI can do that on all ranks, else through host memory. Returns which, for the log; empty where
  /// nothing changes. Collective; before world() is given to a mesh.
  std::string use_device(Device device);

  /// The mesh of the job, once it is known. Errors name its coordinates; and it lives until the job ends, because a rank that fails
  /// must not wait, while its error travels up, for communication that is still under way.
  void set_mesh(Mesh mesh);
  /// "[rank 3 | data 1 tensor 1] "; empty for one rank.
  std::string prefix() const;
  /// Prints the error, with the rank that it belongs to, and ends the whole job: with several ranks it does not return, else it
  /// returns `code` for main to return. Any thread may call it.
  int fail(const std::exception& error, int code = 1) const;

 private:
  explicit Session(std::shared_ptr<Communicator> alone);

  bool ends_job_ = true;
  std::shared_ptr<Communicator> world_;
  std::unique_ptr<Communicator> host_;
  std::shared_ptr<Watchdog> watchdog_;  // null for one rank
  std::optional<Device> device_;
  std::optional<Mesh> mesh_;
};

/// What main does: runs `job` in a session and returns its exit status; an error is printed once, with its rank, and ends the whole job.
int run_job(const std::function<int(Session&)>& job);

}  // namespace trident
