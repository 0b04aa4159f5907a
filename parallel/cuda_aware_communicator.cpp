#include "parallel/cuda_aware_communicator.h"

#include <numeric>
#include <utility>

#include "parallel/device_streams.h"
#include "parallel/range.h"
#include "parallel/staged_communicator.h"
#include "parallel/wrapped_communicator.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"

namespace trident {
namespace {

/// x's memory under its own address, as MPI is to see it.
Tensor for_mpi(const Tensor& x) {
  return x.defined() && x.is_cuda() ? from_memory(x.bytes(), x.shape(), x.dtype(), std::make_shared<Tensor>(x)) : x;
}

/// Consecutive parts of a tensor, one for each rank.
class Parts {
 public:
  Parts(const Tensor& x, const std::vector<std::int64_t>& counts) : flat_(view::reshape(x, {x.numel()})), ends_(counts.size()) {
    std::partial_sum(counts.begin(), counts.end(), ends_.begin());
  }
  Tensor operator()(int rank) const {
    const auto r = static_cast<std::size_t>(rank);
    return view::slice(flat_, 0, rank == 0 ? 0 : ends_[r - 1], ends_[r]);
  }

 private:
  Tensor flat_;
  std::vector<std::int64_t> ends_;
};

/// Messages are MPI's, from device to device; what is added up is added on the device, in rank order, with the bits of the host. What
/// devices cannot add, and other reductions, go through host memory.
class CudaAwareCommunicator final : public WrappedCommunicator {
 public:
  CudaAwareCommunicator(const std::shared_ptr<Communicator>& host, Device device)
      : WrappedCommunicator(host), device_(device), staged_(make_staged_communicator(host, device)) {}

  void all_reduce(const Tensor& x, ReduceOp op) override {
    if (!x.is_cuda() || op != ReduceOp::sum || !adds(x.dtype())) return staged_->all_reduce(x, op);
    require_contiguous("all_reduce", x);
    const std::vector<std::int64_t> counts = part_sizes(x.numel(), size());
    const Tensor own = Parts(x, counts)(rank());
    reduce_scatter(x, own, counts);
    all_gather(own, x, counts);
  }

  void all_gather(const Tensor& source, const Tensor& target, const std::vector<std::int64_t>& counts) override {
    if (!target.is_cuda()) return host().all_gather(source, target, counts);
    require_contiguous("all_gather", source);
    require_counts("all_gather", target, counts);
    const Parts parts(target, counts);
    copy_own("all_gather", parts(rank()), source);
    exchange([&](int) { return source; }, parts);
  }

  void reduce_scatter(const Tensor& source, const Tensor& target, const std::vector<std::int64_t>& counts) override {
    if (!source.is_cuda() || !adds(source.dtype())) return staged_->reduce_scatter(source, target, counts);
    require_counts("reduce_scatter", source, counts);
    require_contiguous("reduce_scatter", target);
    const Parts parts(source, counts);
    const std::int64_t own = counts[static_cast<std::size_t>(rank())];
    const Parts arrived(empty({size() * own}, source.dtype(), device_), std::vector(counts.size(), own));
    copy_into(arrived(rank()), parts(rank()));
    exchange(parts, arrived);
    for (int peer = 1; peer < size(); ++peer) add_into(arrived(0), arrived(peer));
    copy_own("reduce_scatter", target, arrived(0));
    current_stream(device_).synchronize();
  }

  void all_to_all(const Tensor& source, const std::vector<std::int64_t>& send_counts, const Tensor& target,
                  const std::vector<std::int64_t>& receive_counts) override {
    if (!source.is_cuda()) return host().all_to_all(source, send_counts, target, receive_counts);
    require_counts("all_to_all", source, send_counts);
    require_counts("all_to_all", target, receive_counts);
    const Parts leaving(source, send_counts), arriving(target, receive_counts);
    copy_own("all_to_all", arriving(rank()), leaving(rank()));
    exchange(leaving, arriving);
  }

  void send_receive(const Tensor& source, int to, const Tensor& target, int from) override {
    current_stream(device_).synchronize();
    send_receive_at_rest(source, to, target, from);
  }

  void broadcast(const Tensor& x, int root) override {
    if (!x.is_cuda()) return host().broadcast(x, root);
    current_stream(device_).synchronize();
    const HostAccess access;
    host().broadcast(for_mpi(x), root);
  }

  std::unique_ptr<Communicator> split(int color, int key) override {
    return make_cuda_aware_communicator(host().split(color, key), device_);
  }
  std::unique_ptr<Communicator> duplicate() override { return make_cuda_aware_communicator(host().duplicate(), device_); }
  std::unique_ptr<Stream> make_stream() const override { return std::make_unique<WaitingStream>(device_); }

 private:
  static bool adds(DType dtype) { return dtype == DType::f32 || dtype == DType::f64 || is_complex(dtype); }

  static void copy_own(const char* call, const Tensor& target, const Tensor& source) {
    if (target.numel() != source.numel())
      throw ShapeError(concat(call, ": ", source.numel(), " elements for this rank itself, where it takes ", target.numel()));
    if (target.bytes() != source.bytes()) copy_into(view::reshape(target, source.shape()), source);
  }

  /// `part_for(r)` goes to rank r, and `part_of(r)` comes from it: in round k every rank sends to the k-th behind it. MPI knows no streams:
  /// it is called when the device is done with all that the current one has.
  template <class Leaving>
  void exchange(const Leaving& part_for, const Parts& part_of) {
    current_stream(device_).synchronize();
    for (int round = 1; round < size(); ++round) {
      const int to = (rank() + round) % size(), from = (rank() + size() - round) % size();
      send_receive_at_rest(part_for(to), to, part_of(from), from);
    }
  }

  void send_receive_at_rest(const Tensor& source, int to, const Tensor& target, int from) {
    const HostAccess access;
    host().send_receive(for_mpi(source), to, for_mpi(target), from);
  }

  Device device_;
  std::unique_ptr<Communicator> staged_;
};

}  // namespace

std::unique_ptr<Communicator> make_cuda_aware_communicator(std::shared_ptr<Communicator> host, Device device) {
  return std::make_unique<CudaAwareCommunicator>(host, device);
}

}  // namespace trident
