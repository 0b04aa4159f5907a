/// A rank whose fellow ranks are not there: exchanges move nothing, and what they would send is counted. For who predicts a run.
#pragma once

#include "parallel/communicator.h"

namespace trident {

/// Counts bytes as the communicators that do send them. Tensors of counted devices have nothing to receive; of host tensors the others are
/// taken to send what this rank does, so ranks that tell each other sizes find them alike.
class CountingCommunicator final : public Communicator {
 public:
  CountingCommunicator(int rank, int size) : rank_(rank), size_(size) {}
  int rank() const override { return rank_; }
  int size() const override { return size_; }
  /// Calls so far in which something would have travelled.
  std::int64_t calls() const { return calls_; }

  void all_reduce(const Tensor& x, ReduceOp op) override;
  void all_gather(const Tensor& source, const Tensor& target, const std::vector<std::int64_t>& counts) override;
  void reduce_scatter(const Tensor& source, const Tensor& target, const std::vector<std::int64_t>& counts) override;
  void all_to_all(const Tensor& source, const std::vector<std::int64_t>& send_counts, const Tensor& target,
                  const std::vector<std::int64_t>& receive_counts) override;
  void send_receive(const Tensor& source, int to, const Tensor& target, int from) override;
  void broadcast(const Tensor& x, int root) override;
  /// Throws CommunicationError: who would be in a part nobody can tell.
  std::unique_ptr<Communicator> split(int color, int key) override;
  std::unique_ptr<Communicator> duplicate() override;

 private:
  void count(std::int64_t sent, std::int64_t received);

  int rank_, size_;
  std::int64_t calls_ = 0;
};

}  // namespace trident
