#include "parallel/staged_communicator.h"

#include "parallel/device_streams.h"
#include "parallel/wrapped_communicator.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

/// A tensor's numbers on the host while another rank's or ours are put there.
class Staged {
 public:
  enum class Holds { input, space };
  Staged(const Tensor& x, Holds holds)
      : place_(x),
        host_(!x.is_cuda()            ? x
              : holds == Holds::input ? to_device(x, Device{})
                                      : empty(x.shape(), x.dtype())) {}
  const Tensor& host() const { return host_; }
  void put_back() const {
    if (!place_.is_cuda()) return;
    copy_into(place_, host_);
    current_stream(place_.device()).synchronize();  // another stream may read it as soon as the call returns
  }

 private:
  Tensor place_, host_;
};

class StagedCommunicator final : public WrappedCommunicator {
 public:
  StagedCommunicator(std::shared_ptr<Communicator> host, Device device) : WrappedCommunicator(std::move(host)), device_(device) {}

  void all_reduce(const Tensor& x, ReduceOp op) override {
    const Staged staged(x, Staged::Holds::input);
    host().all_reduce(staged.host(), op);
    staged.put_back();
  }
  void all_gather(const Tensor& source, const Tensor& target, const std::vector<std::int64_t>& counts) override {
    const Staged from(source, Staged::Holds::input), to(target, Staged::Holds::space);
    host().all_gather(from.host(), to.host(), counts);
    to.put_back();
  }
  void reduce_scatter(const Tensor& source, const Tensor& target, const std::vector<std::int64_t>& counts) override {
    const Staged from(source, Staged::Holds::input), to(target, Staged::Holds::space);
    host().reduce_scatter(from.host(), to.host(), counts);
    to.put_back();
  }
  void all_to_all(const Tensor& source, const std::vector<std::int64_t>& send_counts, const Tensor& target,
                  const std::vector<std::int64_t>& receive_counts) override {
    const Staged from(source, Staged::Holds::input), to(target, Staged::Holds::space);
    host().all_to_all(from.host(), send_counts, to.host(), receive_counts);
    to.put_back();
  }
  void send_receive(const Tensor& source, int to_rank, const Tensor& target, int from_rank) override {
    const Tensor leaving = to_rank >= 0 && source.defined() ? to_device(source, Device{}) : source;
    if (from_rank < 0 || !target.defined()) return host().send_receive(leaving, to_rank, target, from_rank);
    const Staged arriving(target, Staged::Holds::space);
    host().send_receive(leaving, to_rank, arriving.host(), from_rank);
    arriving.put_back();
  }
  void broadcast(const Tensor& x, int root) override {
    const Staged staged(x, root == rank() ? Staged::Holds::input : Staged::Holds::space);
    host().broadcast(staged.host(), root);
    if (root != rank()) staged.put_back();
  }

  std::unique_ptr<Communicator> split(int color, int key) override { return make_staged_communicator(host().split(color, key), device_); }
  std::unique_ptr<Communicator> duplicate() override { return make_staged_communicator(host().duplicate(), device_); }
  std::unique_ptr<Stream> make_stream() const override { return std::make_unique<WaitingStream>(device_); }

 private:
  Device device_;
};

}  // namespace

std::unique_ptr<Communicator> make_staged_communicator(std::shared_ptr<Communicator> host, Device device) {
  return std::make_unique<StagedCommunicator>(std::move(host), device);
}

}  // namespace trident
