/// Ranks that exchange tensors. Calls are collective, run in stream order, and return when the result may be read by the caller's
/// stream; the non-blocking form is to call them on a communication stream. One rank is the identity: no caller asks.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "runtime/tensor/tensor.h"

namespace trident {

enum class ReduceOp { sum, max, min };

class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;

  /// In place, contiguous. All ranks get the same bits.
  virtual void all_reduce(const Tensor& x, ReduceOp op) = 0;
  /// Rank r's `counts[r]` elements, concatenated in rank order into `target`.
  virtual void all_gather(const Tensor& source, const Tensor& target, const std::vector<std::int64_t>& counts) = 0;
  /// The sum over ranks of `source`, of which rank r keeps its `counts[r]` elements in `target`.
  virtual void reduce_scatter(const Tensor& source, const Tensor& target, const std::vector<std::int64_t>& counts) = 0;
  /// `send_counts[r]` elements of `source` go to rank r, in rank order; `target` receives likewise.
  virtual void all_to_all(const Tensor& source, const std::vector<std::int64_t>& send_counts, const Tensor& target,
                          const std::vector<std::int64_t>& receive_counts) = 0;
  /// Sends to rank `to` while receiving from rank `from` (-1: neither).
  virtual void send_receive(const Tensor& source, int to, const Tensor& target, int from) = 0;
  virtual void broadcast(const Tensor& x, int root) = 0;
  /// A communicator of the ranks with equal `color`, ordered by `key`.
  virtual std::unique_ptr<Communicator> split(int color, int key) = 0;
  /// The same ranks with a message space of their own.
  virtual std::unique_ptr<Communicator> duplicate() = 0;

  /// Bytes that this rank has sent so far (ring algorithms: 2(n-1)/n of an all-reduced buffer), for the closed formulas of docs.
  std::int64_t bytes_sent() const { return bytes_sent_; }

 protected:
  std::int64_t bytes_sent_ = 0;
};

/// One rank.
std::unique_ptr<Communicator> make_self_communicator();

}  // namespace trident
