/// This process's place in the job: alone, or one rank of many that mpirun or srun started.
#pragma once

#include <exception>
#include <memory>
#include <string>

#include "parallel/communicator.h"

namespace trident {

/// Held by main for as long as the program runs. Initialises MPI if a launcher started this process, and only then: MPI costs a third of
/// a second and files that a single process does not need. Throws CommunicationError when started by a launcher that this build cannot
/// join.
class Session {
 public:
  Session();
  ~Session();  // ends MPI; all ranks come here
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  /// All ranks of the job; one rank when no launcher started it.
  const std::shared_ptr<Communicator>& world() const { return world_; }
  /// Ranks of this job on this host, and which of them this is.
  int host_rank() const { return host_rank_; }
  int host_size() const { return host_size_; }

  /// What errors say of this rank besides its number: its mesh coordinates, once they are known.
  void set_place(std::string place) { place_ = std::move(place); }
  /// "[rank 3 | data 1 tensor 1] "; empty for one rank.
  std::string prefix() const;
  /// Prints the error, with the rank that it belongs to, and ends the whole job: with several ranks it does not return, else it
  /// returns `code` for main to return. Any thread may call it.
  int fail(const std::exception& error, int code = 1) const;

 private:
  std::shared_ptr<Communicator> world_;
  int host_rank_ = 0;
  int host_size_ = 1;
  std::string place_;
};

}  // namespace trident
