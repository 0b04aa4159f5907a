/// Ranks that exchange tensors. Calls are collective, run in stream order, and return when the result may be read by the caller's
/// stream; the non-blocking form is to call them on a communication stream. One rank is the identity: no caller asks.
///
/// Sums are added in rank order, element by element: all ranks get the same bits, and how an exchange is cut into buckets or chunks
/// does not change them. Tensors are contiguous; every rank passes the same number type, and where no counts say otherwise the same size.
/// Each call throws ShapeError for tensors that do not fit, and CommunicationError when another rank has not answered in time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "runtime/device/stream.h"
#include "runtime/tensor/tensor.h"

namespace trident {

enum class ReduceOp { sum, max, min };

/// How a call waits for other ranks: as soon as they answer it goes on, or it leaves the processor to a thread that computes meanwhile.
enum class Patience { none, beside_computing };

class Watchdog;

class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;

  /// In place. f32, f64, i64; bool with max (any) and min (all); complex numbers with sum.
  virtual void all_reduce(const Tensor& x, ReduceOp op) = 0;
  /// Rank r's `counts[r]` elements, concatenated in rank order into `target`. `source` may be the own part of `target`.
  virtual void all_gather(const Tensor& source, const Tensor& target, const std::vector<std::int64_t>& counts) = 0;
  /// The sum over ranks of `source`, of which rank r keeps its `counts[r]` elements in `target`, which may be the own part of `source`.
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
  /// Whether another thread may call a duplicate while this one is in a call, in an order that differs between ranks.
  virtual bool has_concurrent_lanes() const { return false; }
  /// A duplicate for tensors of the host alone, for a thread that communicates whatever this one does. Null where only one thread at a time
  /// may communicate.
  virtual std::unique_ptr<Communicator> host_lane() { return has_concurrent_lanes() ? duplicate() : nullptr; }

  /// Whether calls with a device's tensors only launch, so that a graph can capture them (runtime/device/cuda_graph.h).
  virtual bool only_launches() const { return false; }
  /// A graph with such calls in it was launched on the current stream: watches over it as over a call.
  virtual void launched(const char*) {}

  /// Where its calls are put to overlap with computing.
  virtual std::unique_ptr<Stream> make_stream() const { return std::make_unique<WorkerStream>(); }

  /// What errors call these ranks: "data", "domain_y domain_x"; taken over by duplicate().
  virtual const std::string& name() const { return name_; }
  virtual void set_name(std::string name) { name_ = std::move(name); }
  /// How long a call waits for another rank before the job ends; taken over by split() and duplicate().
  virtual void set_timeout(double seconds) { timeout_seconds_ = seconds; }
  virtual void set_patience(Patience patience) { patience_ = patience; }
  /// Who watches over that (watchdog.h); taken over by split() and duplicate(). Without it the call itself throws, and knows less.
  virtual void set_watchdog(std::shared_ptr<Watchdog> watchdog) { watchdog_ = std::move(watchdog); }

  /// Bytes that this rank has sent so far (ring algorithms: 2(n-1)/n of an all-reduced buffer), for the closed formulas of docs.
  virtual std::int64_t bytes_sent() const { return bytes_sent_; }

 protected:
  /// Throws ShapeError unless x is contiguous and holds the sum of the counts, one for each rank.
  void require_counts(const char* call, const Tensor& x, const std::vector<std::int64_t>& counts) const;
  void require_contiguous(const char* call, const Tensor& x) const;

  std::string name_ = "all ranks";
  double timeout_seconds_ = 600.0;
  Patience patience_ = Patience::none;
  std::shared_ptr<Watchdog> watchdog_;
  std::int64_t bytes_sent_ = 0;
};

/// One rank.
std::unique_ptr<Communicator> make_self_communicator();

}  // namespace trident
