/// A job of which the last rank fails, stalls or does something else than the others, in the way that the argument says. Each rank leaves
/// its process number in the folder given second. Where there is a GPU the ranks exchange its tensors.
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <string>
#include <thread>

#include "parallel/mesh.h"
#include "parallel/session.h"
#include "runtime/activity.h"
#include "runtime/device/cuda_device.h"
#include "runtime/error.h"
#include "runtime/tensor/create.h"

namespace {

using namespace trident;

/// What the last rank does while the others are in an all_reduce over the data axis.
void misbehave(Session& session, const Mesh& mesh, const std::string& how) {
  const auto a_minute = [] { std::this_thread::sleep_for(std::chrono::seconds(60)); };
  Communicator& data = mesh.comm(Axis::data);
  if (how == "throw") throw DataError("ns.nc: trajectory 7 is not finite");
  if (how == "kill") std::raise(SIGKILL);
  if (how == "leave") std::_Exit(0);
  if (how == "stop") std::raise(SIGSTOP);
  if (how == "stall") {
    const Activity computing("position bias");
    note_operation("softmax");
    a_minute();
  }
  if (how == "block") {
    std::this_thread::sleep_for(std::chrono::milliseconds(500));  // so that the deadline of the others passes first
    session.world()->split(0, 0);                                 // waits inside MPI
  }
  if (how == "shape") data.all_reduce(full({99999}, 1.0, DType::f32), ReduceOp::sum);
  if (how == "type") data.all_reduce(full({100000}, 1.0, DType::f64), ReduceOp::sum);
  if (how == "kind") data.broadcast(full({100000}, 1.0, DType::f32), 0);
  if (how == "order") session.world()->all_reduce(full({4}, 1.0, DType::f32), ReduceOp::sum);
}

void run(Session& session, const std::string& how, const std::string& folder) {
  const int rank = session.world()->rank(), last = session.world()->size() - 1;
  std::ofstream(folder + "/" + std::to_string(rank)) << getpid() << std::endl;
  session.world()->set_timeout(3.0);
  const Device device{cuda_device_count() > 0 ? Device::Kind::cuda : Device::Kind::cpu};
  if (const std::string way = session.use_device(device); rank == 0 && !way.empty()) std::cerr << "tensors travel " << way << std::endl;
  const Mesh mesh(session.world(), {session.world()->size(), 1, 1, 1});
  session.set_mesh(mesh);
  const Tensor x = full({100000}, 1.0, DType::f32, device);
  const auto launch = [&] {
    const Activity step("step");
    mesh.stream().enqueue([x, &comm = mesh.comm(Axis::data)] { comm.all_reduce(x, ReduceOp::sum); });
  };
  launch();
  mesh.stream().synchronize();
  if (how == "everywhere") throw ConfigError("run.yaml:3: no such key");
  if (how == "block") {  // past the collectives that are checked
    for (int k = 0; k < 500; ++k) mesh.world().all_reduce(full({1}, 1.0, DType::f32), ReduceOp::sum);
    for (int k = 0; k < 500; ++k) session.world()->all_reduce(full({1}, 1.0, DType::f32), ReduceOp::sum);
  }
  if (how == "throw_in_flight") {
    if (rank == last) {
      launch();  // nobody answers
      throw DataError("ns.nc: trajectory 8 is not finite");
    }
    std::this_thread::sleep_for(std::chrono::seconds(60));
  }
  if (rank == last) misbehave(session, mesh, how);
  launch();
  mesh.stream().synchronize();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: failing_rank throw|throw_in_flight|kill|leave|stop|stall|block|shape|type|kind|order|everywhere FOLDER\n";
    return 2;
  }
  return run_job([&](Session& session) {
    run(session, argv[1], argv[2]);
    return 0;
  });
}
