#include <numeric>

#include "parallel/combine.h"
#include "parallel/communicator.h"
#include "runtime/error.h"
#include "runtime/tensor/copy.h"

namespace trident {
namespace {

/// The identity: a sum over one rank is the number itself, and what is gathered or exchanged is copied.
class SelfCommunicator final : public Communicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  bool only_launches() const override { return true; }

  void all_reduce(const Tensor& x, ReduceOp op) override {
    require_contiguous("all_reduce", x);
    require_combinable("all_reduce", x.dtype(), op);
  }
  void all_gather(const Tensor& source, const Tensor& target, const std::vector<std::int64_t>& counts) override {
    require_counts("all_gather", source, counts);
    copy_into(target, source);
  }
  void reduce_scatter(const Tensor& source, const Tensor& target, const std::vector<std::int64_t>& counts) override {
    require_counts("reduce_scatter", source, counts);
    require_combinable("reduce_scatter", source.dtype(), ReduceOp::sum);
    copy_into(target, source);
  }
  void all_to_all(const Tensor& source, const std::vector<std::int64_t>& send_counts, const Tensor& target,
                  const std::vector<std::int64_t>& receive_counts) override {
    require_counts("all_to_all", source, send_counts);
    require_counts("all_to_all", target, receive_counts);
    copy_into(target, source);
  }
  void send_receive(const Tensor& source, int to, const Tensor& target, int from) override {
    if (to != from) throw CommunicationError(concat("send_receive: one rank can send to itself alone; got to ", to, " and from ", from));
    if (to == 0) copy_into(target, source);
  }
  void broadcast(const Tensor& x, int) override { require_contiguous("broadcast", x); }

  std::unique_ptr<Communicator> split(int, int) override { return make_self_communicator(); }
  std::unique_ptr<Communicator> duplicate() override { return make_self_communicator(); }
  bool has_concurrent_lanes() const override { return true; }
};

}  // namespace

void Communicator::require_contiguous(const char* call, const Tensor& x) const {
  if (!x.is_contiguous()) throw ShapeError(concat(call, ": tensor ", to_string(x.shape()), " has gaps; pass packed(x)"));
}

void Communicator::require_counts(const char* call, const Tensor& x, const std::vector<std::int64_t>& counts) const {
  require_contiguous(call, x);
  const std::int64_t total = std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
  if (static_cast<int>(counts.size()) == size() && total == x.numel()) return;
  throw ShapeError(
      concat(call, ": ", counts.size(), " counts adding up to ", total, " for ", size(), " ranks and ", x.numel(), " elements"));
}

std::unique_ptr<Communicator> make_self_communicator() { return std::make_unique<SelfCommunicator>(); }

}  // namespace trident
