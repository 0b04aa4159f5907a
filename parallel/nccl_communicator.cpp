#include "parallel/nccl_communicator.h"

#include <nccl.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <deque>
#include <exception>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "parallel/combine.h"
#include "parallel/device_streams.h"
#include "parallel/messages.h"
#include "parallel/wrapped_communicator.h"
#include "runtime/device/cuda_device.h"
#include "runtime/device/launch_only.h"
#include "runtime/error.h"

namespace trident {
namespace {

using Clock = std::chrono::steady_clock;

std::string message(const char* call, const std::string& why) {
  return concat(call, " between GPUs: ", why, "; NCCL_DEBUG=INFO says more");
}

[[noreturn]] void fail(const char* call, const std::string& why) { throw CommunicationError(message(call, why)); }

void require(ncclResult_t result, const char* call) {
  if (result != ncclSuccess && result != ncclInProgress) fail(call, ncclGetErrorString(result));
}

/// Numbers as NCCL names them; the parts of a complex number are two numbers.
struct Kind {
  ncclDataType_t type;
  std::size_t width = 1;
};
Kind kind_of(const Tensor& x) {
  switch (x.dtype()) {
    case DType::f32:
      return {ncclFloat32};
    case DType::f64:
      return {ncclFloat64};
    case DType::bf16:
      return {ncclBfloat16};
    case DType::i64:
      return {ncclInt64};
    case DType::c64:
      return {ncclFloat32, 2};
    case DType::c128:
      return {ncclFloat64, 2};
    default:
      return {ncclUint8, size_of(x.dtype())};
  }
}

ncclRedOp_t operation_of(ReduceOp op) { return op == ReduceOp::sum ? ncclSum : op == ReduceOp::max ? ncclMax : ncclMin; }

/// Calls between its ends are one operation.
class Group {
 public:
  explicit Group(const char* call) : call_(call) { require(ncclGroupStart(), call_); }
  void end() {
    open_ = false;
    require(ncclGroupEnd(), call_);
  }
  ~Group() {
    if (open_) ncclGroupEnd();
  }
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;

 private:
  const char* call_;
  bool open_ = true;
};

/// NCCL's communicator, made when it is first needed: every rank needs it at the same call. A thread watches what is under way: a kernel
/// that waits for a rank that never comes would wait for ever.
class Link {
 public:
  Link(Device device, OnFailure on_failure) : device_(device), on_failure_(std::move(on_failure)) {}
  ~Link() {
    watch_ = {};
    if (comm_ != nullptr && !leave_together()) ncclCommAbort(comm_);
  }
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;

  /// Hands NCCL what hand_over(communicator) calls, waits until it has taken it, and watches over it from then on.
  template <class HandOver>
  void call(const char* call, Communicator& host, double timeout_seconds, CudaStream& stream, const HandOver& hand_over) {
    if (!watch_.joinable()) connect(host, timeout_seconds);
    {
      const std::lock_guard lock(mutex_);
      require_alive(call);
      require(hand_over(comm_), call);
    }
    settle(call);
    if (is_launching_only()) return;  // captured: what happens is the graph's launch
    auto end = std::make_unique<CudaEvent>(device_);
    end->record(stream);
    const std::lock_guard lock(mutex_);
    while (!under_way_.empty() && under_way_.front().end->has_happened()) under_way_.pop_front();
    under_way_.push_back({call, Clock::now(), std::move(end)});
  }

 private:
  struct Call {
    const char* name;
    Clock::time_point start;
    std::unique_ptr<CudaEvent> end;
  };

  void connect(Communicator& host, double timeout_seconds) {
    timeout_seconds_ = timeout_seconds;
    ncclUniqueId id{};
    if (host.rank() == 0) require(ncclGetUniqueId(&id), "ncclGetUniqueId");
    const std::string shared = broadcast_text(host, std::string(id.internal, sizeof id.internal), 0);
    std::memcpy(id.internal, shared.data(), sizeof id.internal);
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;  // so that a rank that never comes is noticed
    require(ncclCommInitRankConfig(&comm_, host.size(), id, host.rank(), &config), "ncclCommInitRank");
    settle("ncclCommInitRank");
    watch_ = std::jthread([this](const std::stop_token& over) {
      try {
        watch(over);
      } catch (const DeviceError&) {  // the GPU has failed, which whoever uses it next is told
      }
    });
  }

  /// Other ranks may still read this GPU's memory, so nobody goes before all have come; but where an error ends the work.
  bool leave_together() noexcept {
    if (std::uncaught_exceptions() > 0) return false;
    try {
      require(ncclCommFinalize(comm_), "ncclCommFinalize");
      settle("ncclCommFinalize");
      return ncclCommDestroy(comm_) == ncclSuccess;
    } catch (const CommunicationError&) {
      return false;
    }
  }

  void require_alive(const char* call) const {
    if (comm_ == nullptr) fail(call, failure_);
  }

  void settle(const char* call) {
    const auto start = Clock::now();
    ncclResult_t state = ncclInProgress;
    while (true) {
      {
        const std::lock_guard lock(mutex_);
        require_alive(call);
        require(ncclCommGetAsyncError(comm_, &state), call);
      }
      if (state != ncclInProgress) break;
      if (is_late(start)) fail(call, no_answer());
      std::this_thread::sleep_for(std::chrono::microseconds(20));
    }
    require(state, call);
  }

  void watch(const std::stop_token& over) {
    current_stream(device_);  // makes it this thread's device
    while (!over.stop_requested()) {
      std::this_thread::sleep_for(kPollTime);
      std::unique_lock lock(mutex_);
      while (!under_way_.empty() && under_way_.front().end->has_happened()) under_way_.pop_front();
      ncclResult_t state = ncclSuccess;
      const ncclResult_t asked = ncclCommGetAsyncError(comm_, &state);
      const bool failed = asked != ncclSuccess || (state != ncclSuccess && state != ncclInProgress);
      const bool late = !under_way_.empty() && is_late(under_way_.front().start);
      if (!failed && !late) continue;
      const char* call = under_way_.empty() ? "a call" : under_way_.front().name;
      failure_ = late ? no_answer() : ncclGetErrorString(asked != ncclSuccess ? asked : state);
      ncclCommAbort(std::exchange(comm_, nullptr));
      lock.unlock();
      on_failure_(CommunicationError(message(call, failure_)));
      return;
    }
  }

  bool is_late(Clock::time_point start) const { return Clock::now() - start > std::chrono::duration<double>(timeout_seconds_); }
  std::string no_answer() const { return concat("another rank has not answered for ", timeout_seconds_, " s"); }

  static constexpr auto kPollTime = std::chrono::milliseconds(200);
  Device device_;
  OnFailure on_failure_;
  double timeout_seconds_ = 0.0;
  std::mutex mutex_;  // of what follows, once there is a watch
  ncclComm_t comm_ = nullptr;
  std::string failure_;  // why there is none any more
  std::deque<Call> under_way_;
  std::jthread watch_;  // last: it uses the members above
};

class NcclCommunicator final : public WrappedCommunicator {
 public:
  NcclCommunicator(std::shared_ptr<Communicator> host, Device device, const OnFailure& on_failure)
      : WrappedCommunicator(std::move(host)), device_(device), on_failure_(on_failure), link_(device, on_failure) {}

  void all_reduce(const Tensor& x, ReduceOp op) override {
    if (!x.is_cuda()) return host().all_reduce(x, op);
    require_contiguous("all_reduce", x);
    require_combinable("all_reduce", x.dtype(), op);
    if (size() == 1 || x.numel() == 0) return;
    bytes_sent_ += 2 * (size() - 1) * x.num_bytes() / size();
    const Kind kind = kind_of(x);
    run("all_reduce", [&](ncclComm_t comm, cudaStream_t stream) {
      return ncclAllReduce(x.bytes(), x.bytes(), numbers_in(x, kind), kind.type, operation_of(op), comm, stream);
    });
  }

  void all_gather(const Tensor& source, const Tensor& target, const std::vector<std::int64_t>& counts) override {
    if (!source.is_cuda()) return host().all_gather(source, target, counts);
    require_contiguous("all_gather", source);
    require_counts("all_gather", target, counts);
    if (source.numel() != counts[static_cast<std::size_t>(rank())]) {
      throw ShapeError(
          concat("all_gather: ", source.numel(), " elements where ", counts[static_cast<std::size_t>(rank())], " are announced"));
    }
    bytes_sent_ += (size() - 1) * target.num_bytes() / size();
    const Kind kind = kind_of(source);
    if (std::ranges::count(counts, counts.front()) == size()) {
      return run("all_gather", [&](ncclComm_t comm, cudaStream_t stream) {
        return ncclAllGather(source.bytes(), target.bytes(), numbers_in(source, kind), kind.type, comm, stream);
      });
    }
    run_group("all_gather", [&](ncclComm_t comm, cudaStream_t stream) {
      for_each_part(target, counts, [&](int peer, std::byte* part, std::size_t elements) {
        require(ncclBroadcast(source.bytes(), part, elements * kind.width, kind.type, peer, comm, stream), "ncclBroadcast");
      });
    });
  }

  void reduce_scatter(const Tensor& source, const Tensor& target, const std::vector<std::int64_t>& counts) override {
    if (!source.is_cuda()) return host().reduce_scatter(source, target, counts);
    require_combinable("reduce_scatter", source.dtype(), ReduceOp::sum);
    require_counts("reduce_scatter", source, counts);
    require_contiguous("reduce_scatter", target);
    const std::int64_t own = counts[static_cast<std::size_t>(rank())];
    if (target.numel() != own) throw ShapeError(concat("reduce_scatter: target of ", target.numel(), " elements for a part of ", own));
    bytes_sent_ += (size() - 1) * source.num_bytes() / size();
    const Kind kind = kind_of(source);
    if (std::ranges::count(counts, counts.front()) == size()) {
      return run("reduce_scatter", [&](ncclComm_t comm, cudaStream_t stream) {
        return ncclReduceScatter(source.bytes(), target.bytes(), numbers_in(target, kind), kind.type, ncclSum, comm, stream);
      });
    }
    run_group("reduce_scatter", [&](ncclComm_t comm, cudaStream_t stream) {
      for_each_part(source, counts, [&](int peer, std::byte* part, std::size_t elements) {
        require(ncclReduce(part, target.bytes(), elements * kind.width, kind.type, ncclSum, peer, comm, stream), "ncclReduce");
      });
    });
  }

  void all_to_all(const Tensor& source, const std::vector<std::int64_t>& send_counts, const Tensor& target,
                  const std::vector<std::int64_t>& receive_counts) override {
    if (!source.is_cuda()) return host().all_to_all(source, send_counts, target, receive_counts);
    require_counts("all_to_all", source, send_counts);
    require_counts("all_to_all", target, receive_counts);
    bytes_sent_ += source.num_bytes() - send_counts[static_cast<std::size_t>(rank())] * static_cast<std::int64_t>(size_of(source.dtype()));
    const Kind kind = kind_of(source);
    run_group("all_to_all", [&](ncclComm_t comm, cudaStream_t stream) {
      for_each_part(source, send_counts, [&](int peer, std::byte* part, std::size_t elements) {
        require(ncclSend(part, elements * kind.width, kind.type, peer, comm, stream), "ncclSend");
      });
      for_each_part(target, receive_counts, [&](int peer, std::byte* part, std::size_t elements) {
        require(ncclRecv(part, elements * kind.width, kind.type, peer, comm, stream), "ncclRecv");
      });
    });
  }

  void send_receive(const Tensor& source, int to, const Tensor& target, int from) override {
    const bool on_device = (to >= 0 && source.is_cuda()) || (from >= 0 && target.is_cuda());
    if (!on_device) return host().send_receive(source, to, target, from);
    if (to >= 0) require_contiguous("send_receive", source);
    if (from >= 0) require_contiguous("send_receive", target);
    if (to >= 0) bytes_sent_ += source.num_bytes();
    run_group("send_receive", [&](ncclComm_t comm, cudaStream_t stream) {
      if (to >= 0)
        require(ncclSend(source.bytes(), numbers_in(source, kind_of(source)), kind_of(source).type, to, comm, stream), "ncclSend");
      if (from >= 0)
        require(ncclRecv(target.bytes(), numbers_in(target, kind_of(target)), kind_of(target).type, from, comm, stream), "ncclRecv");
    });
  }

  void broadcast(const Tensor& x, int root) override {
    if (!x.is_cuda()) return host().broadcast(x, root);
    require_contiguous("broadcast", x);
    if (rank() == root) bytes_sent_ += x.num_bytes();
    const Kind kind = kind_of(x);
    run("broadcast", [&](ncclComm_t comm, cudaStream_t stream) {
      return ncclBroadcast(x.bytes(), x.bytes(), numbers_in(x, kind), kind.type, root, comm, stream);
    });
  }

  std::unique_ptr<Communicator> split(int color, int key) override {
    return make_nccl_communicator(host().split(color, key), device_, on_failure_);
  }
  std::unique_ptr<Communicator> duplicate() override { return make_nccl_communicator(host().duplicate(), device_, on_failure_); }
  std::unique_ptr<Stream> make_stream() const override { return std::make_unique<LaunchedStream>(device_); }
  bool only_launches() const override { return true; }
  void launched(const char* what) override {
    link_.call(what, host(), timeout_seconds_, current_stream(device_), [](ncclComm_t) { return ncclSuccess; });
  }
  void set_timeout(double seconds) override {
    timeout_seconds_ = seconds;
    host().set_timeout(seconds);
  }
  std::int64_t bytes_sent() const override { return bytes_sent_ + host().bytes_sent(); }

 private:
  static std::size_t numbers_in(const Tensor& x, Kind kind) { return static_cast<std::size_t>(x.numel()) * kind.width; }

  /// Calls visit(peer, its part, elements) for every part that is not empty.
  template <class Visit>
  void for_each_part(const Tensor& x, const std::vector<std::int64_t>& counts, Visit visit) const {
    std::byte* part = x.bytes();
    for (int peer = 0; peer < size(); ++peer) {
      const auto elements = static_cast<std::size_t>(counts[static_cast<std::size_t>(peer)]);
      if (elements > 0) visit(peer, part, elements);
      part += elements * size_of(x.dtype());
    }
  }

  template <class Call>
  void run(const char* name, const Call& call) {
    CudaStream& stream = current_stream(device_);
    const auto handle = static_cast<cudaStream_t>(stream.handle());
    link_.call(name, host(), timeout_seconds_, stream, [&](ncclComm_t comm) { return call(comm, handle); });
  }
  template <class Calls>
  void run_group(const char* name, const Calls& calls) {
    run(name, [&](ncclComm_t comm, cudaStream_t stream) {
      Group group(name);
      calls(comm, stream);
      group.end();
      return ncclSuccess;
    });
  }

  Device device_;
  OnFailure on_failure_;
  Link link_;
};

}  // namespace

std::unique_ptr<Communicator> make_nccl_communicator(std::shared_ptr<Communicator> host, Device device, const OnFailure& on_failure) {
  return std::make_unique<NcclCommunicator>(std::move(host), device, on_failure);
}

}  // namespace trident
