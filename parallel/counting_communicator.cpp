#include "parallel/counting_communicator.h"

#include "parallel/combine.h"
#include "runtime/error.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"

namespace trident {
namespace {

std::int64_t bytes_of(const Tensor& x, std::int64_t elements) { return elements * static_cast<std::int64_t>(size_of(x.dtype())); }

}  // namespace

void CountingCommunicator::count(std::int64_t sent, std::int64_t received) {
  bytes_sent_ += sent;
  calls_ += sent + received > 0 ? 1 : 0;
}

void CountingCommunicator::all_reduce(const Tensor& x, ReduceOp op) {
  require_contiguous("all_reduce", x);
  require_combinable("all_reduce", x.dtype(), op);
  const std::int64_t bytes = 2 * (size_ - 1) * x.num_bytes() / size_;
  count(bytes, bytes);
}

void CountingCommunicator::all_gather(const Tensor& source, const Tensor& target, const std::vector<std::int64_t>& counts) {
  require_counts("all_gather", target, counts);
  const std::int64_t bytes = (size_ - 1) * target.num_bytes() / size_;
  count(bytes, bytes);
  std::int64_t place = 0;
  for (const std::int64_t part : counts) {
    const Tensor there = view::slice(view::reshape(target, {target.numel()}), 0, place, place + part);
    if (part == source.numel()) copy_into(there, view::reshape(source, {part}));
    place += part;
  }
}

void CountingCommunicator::reduce_scatter(const Tensor& source, const Tensor& target, const std::vector<std::int64_t>& counts) {
  require_counts("reduce_scatter", source, counts);
  require_contiguous("reduce_scatter", target);
  const std::int64_t bytes = (size_ - 1) * source.num_bytes() / size_;
  count(bytes, bytes);
}

void CountingCommunicator::all_to_all(const Tensor& source, const std::vector<std::int64_t>& send_counts, const Tensor& target,
                                      const std::vector<std::int64_t>& receive_counts) {
  require_counts("all_to_all", source, send_counts);
  require_counts("all_to_all", target, receive_counts);
  const auto own = static_cast<std::size_t>(rank_);
  count(source.num_bytes() - bytes_of(source, send_counts[own]), target.num_bytes() - bytes_of(target, receive_counts[own]));
}

void CountingCommunicator::send_receive(const Tensor& source, int to, const Tensor& target, int from) {
  count(to >= 0 ? source.num_bytes() : 0, from >= 0 ? target.num_bytes() : 0);
}

void CountingCommunicator::broadcast(const Tensor& x, int root) { count(rank_ == root ? x.num_bytes() : 0, x.num_bytes()); }

std::unique_ptr<Communicator> CountingCommunicator::split(int, int) {
  throw CommunicationError("split: the ranks are only counted; make a mesh of them by Mesh::counting");
}

std::unique_ptr<Communicator> CountingCommunicator::duplicate() { return std::make_unique<CountingCommunicator>(rank_, size_); }

}  // namespace trident
