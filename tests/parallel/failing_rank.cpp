/// A job of which the last rank fails in the middle of a collective, in the way that the argument says. Each rank leaves its process number
/// in the folder given second.
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <fstream>
#include <iostream>
#include <string>
#include <thread>

#include "parallel/mesh.h"
#include "parallel/session.h"
#include "runtime/error.h"
#include "runtime/tensor/create.h"

namespace {

using namespace trident;

void run(Session& session, const std::string& how, const std::string& folder) {
  const int rank = session.world()->rank(), last = session.world()->size() - 1;
  std::ofstream(folder + "/" + std::to_string(rank)) << getpid() << std::endl;
  if (how == "hang") session.world()->set_timeout(1.0);
  const Mesh mesh(session.world(), {session.world()->size(), 1, 1, 1});
  session.set_mesh(mesh);
  const Tensor x = full({100000}, 1.0, DType::f32);
  const auto launch = [&] { mesh.stream().enqueue([x, &comm = mesh.comm(Axis::data)] { comm.all_reduce(x, ReduceOp::sum); }); };
  const auto exchange = [&] {
    launch();
    mesh.stream().synchronize();
  };
  exchange();
  if (how == "everywhere") throw ConfigError("run.yaml:3: no such key");
  if (rank == last && how == "throw_in_flight") {
    launch();  // nobody answers
    throw DataError("ns.nc: trajectory 8 is not finite");
  }
  if (how == "throw_in_flight") std::this_thread::sleep_for(std::chrono::seconds(60));
  if (rank == last && how == "throw") throw DataError("ns.nc: trajectory 7 is not finite");
  if (rank == last && how == "kill") std::raise(SIGKILL);
  if (rank == last && how == "hang") std::this_thread::sleep_for(std::chrono::seconds(60));
  exchange();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: failing_rank throw|throw_in_flight|kill|hang|everywhere FOLDER\n";
    return 2;
  }
  return run_job([&](Session& session) {
    run(session, argv[1], argv[2]);
    return 0;
  });
}
