#include "parallel/mpi_communicator.h"

#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <numeric>
#include <span>
#include <thread>
#include <utility>

#include "parallel/combine.h"
#include "parallel/mpi_job.h"
#include "parallel/range.h"
#include "parallel/rank_slices.h"
#include "parallel/watchdog.h"
#include "runtime/error.h"

namespace trident {
namespace {

using mpi::check;
using Clock = std::chrono::steady_clock;

// Shared memory between two ranks moves 5.9 GB/s in messages that fit the caches, 0.8 in messages of 64 MB.
constexpr std::int64_t kChunkBytes = std::int64_t{1} << 20;
// Parts of a chunk smaller than this cost more in messages than they carry.
constexpr std::int64_t kSmallestPartBytes = std::int64_t{1} << 14;
// Below this an all-reduce is one gather: one latency instead of two.
constexpr std::int64_t kGatheredBytes = std::int64_t{1} << 13;
constexpr std::int64_t kLargestMessageBytes = std::int64_t{1} << 30;  // MPI counts in int
constexpr auto kSpinTime = std::chrono::microseconds(100);
constexpr auto kNapTime = std::chrono::microseconds(20);
// Who has waited long naps longer: ranks that follow a service wait for hours.
constexpr auto kLongestNapTime = std::chrono::microseconds(1000);
constexpr int kNapsInAWait = 100;
// By which time a watchdog has said who is missing and ended the job.
constexpr double kWatchdogSeconds = 20.0;

const char* name_of(ReduceOp op) { return op == ReduceOp::sum ? "sum" : op == ReduceOp::max ? "max" : "min"; }

/// The ranks of `comm`, numbered as in the job.
std::vector<int> members_of(MPI_Comm comm) {
  int size = 0;
  check(MPI_Comm_size(comm, &size), "MPI_Comm_size");
  std::vector<int> own(static_cast<std::size_t>(size)), of_job(own.size());
  std::iota(own.begin(), own.end(), 0);
  MPI_Group group = MPI_GROUP_NULL, job = MPI_GROUP_NULL;
  check(MPI_Comm_group(comm, &group), "MPI_Comm_group");
  check(MPI_Comm_group(MPI_COMM_WORLD, &job), "MPI_Comm_group");
  check(MPI_Group_translate_ranks(group, size, own.data(), job, of_job.data()), "MPI_Group_translate_ranks");
  MPI_Group_free(&group);
  MPI_Group_free(&job);
  return of_job;
}

/// A collective call, for messages.
struct Call {
  const char* name;
  const Tensor& x;
};

/// Owns its MPI communicator. Messages between two ranks keep their order, so one tag serves all calls.
class MpiCommunicator final : public Communicator {
 public:
  MpiCommunicator(MPI_Comm comm, std::string lane, std::string id) : comm_(comm), group_{std::move(lane), std::move(id), members_of(comm)} {
    check(MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
    check(MPI_Comm_rank(comm_, &rank_), "MPI_Comm_rank");
    check(MPI_Comm_size(comm_, &size_), "MPI_Comm_size");
  }
  ~MpiCommunicator() override {
    int finalized = 0;
    MPI_Finalized(&finalized);
    if (finalized == 0) MPI_Comm_free(&comm_);
  }
  MpiCommunicator(const MpiCommunicator&) = delete;
  MpiCommunicator& operator=(const MpiCommunicator&) = delete;

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  void all_reduce(const Tensor& x, ReduceOp op) override {
    require_host("all_reduce", x);
    require_combinable("all_reduce", x.dtype(), op);
    if (size_ == 1) return;
    const auto visiting = visit({.name = "all_reduce", .elements = x.numel(), .dtype = x.dtype(), .op = name_of(op)});
    if (x.numel() == 0) return;
    bytes_sent_ += 2 * (size_ - 1) * x.num_bytes() / size_;
    if (x.num_bytes() <= kGatheredBytes) return reduce_gathered({"all_reduce", x}, op);
    const std::int64_t chunk = std::max(kChunkBytes, size_ * kSmallestPartBytes);
    for (std::int64_t begin = 0; begin < x.num_bytes(); begin += chunk) {
      const std::int64_t bytes = std::min(chunk, x.num_bytes() - begin);
      const std::vector<Message> slices = slices_of(x.bytes() + begin, part_bytes(bytes, element_bytes(x)));
      const Message& own = slices[static_cast<std::size_t>(rank_)];
      reduce_slices({"all_reduce", x}, slices, own.data, op);
      exchange({"all_reduce", x}, to_others(own), of_others(slices));
    }
  }

  void all_gather(const Tensor& source, const Tensor& target, const std::vector<std::int64_t>& counts) override {
    require_host("all_gather", source);
    require_counts("all_gather", target, counts);
    if (source.numel() != counts[static_cast<std::size_t>(rank_)]) {
      throw ShapeError(
          concat("all_gather: ", source.numel(), " elements where ", counts[static_cast<std::size_t>(rank_)], " are announced"));
    }
    const auto visiting = visit({.name = "all_gather", .elements = target.numel(), .dtype = target.dtype(), .counts = &counts});
    bytes_sent_ += (size_ - 1) * target.num_bytes() / size_;
    gather({"all_gather", target}, source.bytes(), in_bytes(counts, element_bytes(target)), target.bytes());
  }

  void reduce_scatter(const Tensor& source, const Tensor& target, const std::vector<std::int64_t>& counts) override {
    require_host("reduce_scatter", source);
    require_combinable("reduce_scatter", source.dtype(), ReduceOp::sum);
    require_counts("reduce_scatter", source, counts);
    require_contiguous("reduce_scatter", target);
    const std::int64_t own = counts[static_cast<std::size_t>(rank_)];
    if (target.numel() != own) throw ShapeError(concat("reduce_scatter: target of ", target.numel(), " elements for a part of ", own));
    const auto visiting = visit({.name = "reduce_scatter", .elements = source.numel(), .dtype = source.dtype(), .counts = &counts});
    bytes_sent_ += (size_ - 1) * source.num_bytes() / size_;
    const std::int64_t unit = element_bytes(source);
    const std::int64_t step = std::max(kChunkBytes / size_, kSmallestPartBytes) / unit;
    const std::int64_t longest = *std::max_element(counts.begin(), counts.end());
    for (std::int64_t begin = 0; begin < longest; begin += step) {  // the same number of rounds on every rank
      std::vector<Message> slices;
      std::int64_t first = 0;
      for (int peer = 0; peer < size_; ++peer) {
        const std::int64_t count = counts[static_cast<std::size_t>(peer)];
        const std::int64_t from = std::min(begin, count), to = std::min(begin + step, count);
        slices.push_back({peer, source.bytes() + (first + from) * unit, (to - from) * unit});
        first += count;
      }
      reduce_slices({"reduce_scatter", source}, slices, target.bytes() + std::min(begin, own) * unit, ReduceOp::sum);
    }
  }

  void all_to_all(const Tensor& source, const std::vector<std::int64_t>& send_counts, const Tensor& target,
                  const std::vector<std::int64_t>& receive_counts) override {
    require_host("all_to_all", source);
    require_counts("all_to_all", source, send_counts);
    require_counts("all_to_all", target, receive_counts);
    const auto visiting = visit({.name = "all_to_all", .dtype = source.dtype(), .sends = send_counts, .receives = receive_counts});
    const std::vector<Message> sends = slices_of(source.bytes(), in_bytes(send_counts, element_bytes(source)));
    const std::vector<Message> receives = slices_of(target.bytes(), in_bytes(receive_counts, element_bytes(target)));
    bytes_sent_ += source.num_bytes() - sends[static_cast<std::size_t>(rank_)].bytes;
    copy_own(sends[static_cast<std::size_t>(rank_)], receives);
    exchange({"all_to_all", source}, of_others(sends), of_others(receives));
  }

  void send_receive(const Tensor& source, int to, const Tensor& target, int from) override {
    std::vector<std::int64_t> sent(static_cast<std::size_t>(size_)), received(sent);
    if (to >= 0) sent[static_cast<std::size_t>(to)] = source.numel();
    if (from >= 0) received[static_cast<std::size_t>(from)] = target.numel();
    const DType dtype = to >= 0 || from < 0 ? source.dtype() : target.dtype();
    const auto visiting = visit({.name = "send_receive", .dtype = dtype, .sends = std::move(sent), .receives = std::move(received)});
    std::vector<Message> sends, receives;
    if (to >= 0) {
      require_host("send_receive", source);
      sends.push_back({to, source.bytes(), source.num_bytes()});
      bytes_sent_ += source.num_bytes();
    }
    if (from >= 0) {
      require_host("send_receive", target);
      receives.push_back({from, target.bytes(), target.num_bytes()});
    }
    if (to >= 0 || from >= 0) exchange({"send_receive", to >= 0 ? source : target}, sends, receives);
  }

  void broadcast(const Tensor& x, int root) override {
    require_host("broadcast", x);
    const auto visiting = visit({.name = "broadcast", .elements = x.numel(), .dtype = x.dtype(), .root = root});
    if (rank_ == root) bytes_sent_ += x.num_bytes();
    for (std::int64_t begin = 0; begin < x.num_bytes(); begin += kLargestMessageBytes) {
      const auto bytes = static_cast<int>(std::min(kLargestMessageBytes, x.num_bytes() - begin));
      requests_.emplace_back();
      peers_.push_back(root);
      check(MPI_Ibcast(x.bytes() + begin, bytes, MPI_BYTE, root, comm_, &requests_.back()), "MPI_Ibcast");
      wait({"broadcast", x});
    }
  }

  std::unique_ptr<Communicator> split(int color, int key) override {
    const auto visiting = visit({.name = "split"});
    MPI_Comm part = MPI_COMM_NULL;
    check(MPI_Comm_split(comm_, color, key, &part), "MPI_Comm_split");
    return like_this(part, group_.lane, concat(group_.id, ".", ++children_, ":", color));
  }

  bool has_concurrent_lanes() const override {
    int level = MPI_THREAD_SINGLE;
    check(MPI_Query_thread(&level), "MPI_Query_thread");
    return level == MPI_THREAD_MULTIPLE;
  }

  std::unique_ptr<Communicator> duplicate() override {
    const auto visiting = visit({.name = "duplicate"});
    MPI_Comm copy = MPI_COMM_NULL;
    check(MPI_Comm_dup(comm_, &copy), "MPI_Comm_dup");
    auto result = like_this(copy, concat(group_.lane, ".", ++children_), group_.id);
    result->set_name(name_);
    return result;
  }

 private:
  std::unique_ptr<MpiCommunicator> like_this(MPI_Comm comm, std::string lane, std::string id) const {
    auto result = std::make_unique<MpiCommunicator>(comm, std::move(lane), std::move(id));
    result->set_timeout(timeout_seconds_);
    result->set_watchdog(watchdog_);
    return result;
  }

  CollectiveVisit visit(const CollectiveCall& call) const {
    return {size_ == 1 ? nullptr : watchdog_.get(), group_, name_, call, timeout_seconds_, bytes_sent_};
  }

  void require_host(const char* call, const Tensor& x) const {
    require_contiguous(call, x);
    if (x.is_cuda()) throw DeviceError(concat(call, ": MPI carries host tensors, got one on ", to_string(x.device())));
  }

  std::vector<std::int64_t> part_bytes(std::int64_t bytes, std::int64_t unit) const {
    return in_bytes(part_sizes(bytes / unit, size_), unit);
  }

  std::vector<Message> of_others(std::vector<Message> messages) const {
    std::erase_if(messages, [this](const Message& message) { return message.peer == rank_; });
    return messages;
  }

  /// One message for each other rank.
  std::vector<Message> to_others(const Message& message) const {
    std::vector<Message> messages;
    for (int peer = 0; peer < size_; ++peer) messages.push_back({peer, message.data, message.bytes});
    return of_others(std::move(messages));
  }

  void copy_own(const Message& source, const std::vector<Message>& targets) const {
    const Message& target = targets[static_cast<std::size_t>(rank_)];
    if (target.bytes != source.bytes) throw ShapeError(concat(source.bytes, " bytes for this rank itself, where it takes ", target.bytes));
    if (source.bytes > 0 && source.data != target.data) std::memcpy(target.data, source.data, static_cast<std::size_t>(source.bytes));
  }

  void reserve_scratch(std::int64_t bytes) {
    if (static_cast<std::int64_t>(scratch_.size()) < bytes) scratch_.resize(static_cast<std::size_t>(bytes));
  }

  /// Sends each slice to its rank and combines, in rank order, what arrives for this rank's slice.
  void reduce_slices(const Call& call, const std::vector<Message>& slices, std::byte* target, ReduceOp op) {
    const Message& own = slices[static_cast<std::size_t>(rank_)];
    reserve_scratch(own.bytes * (size_ - 1));
    std::vector<Message> receives;
    std::vector<std::byte*> parts;
    std::byte* place = scratch_.data();
    for (int peer = 0; peer < size_; ++peer) {
      parts.push_back(peer == rank_ ? own.data : place);
      receives.push_back({peer, parts.back(), own.bytes});
      if (peer != rank_) place += own.bytes;
    }
    exchange(call, of_others(slices), of_others(receives));
    combine_in_order(call.x.dtype(), parts, target, own.bytes, op);
  }

  /// The all-reduce of few numbers: everyone gets everything and combines it.
  void reduce_gathered(const Call& call, ReduceOp op) {
    const std::int64_t bytes = call.x.num_bytes();
    reserve_scratch(bytes * size_);
    gather(call, call.x.bytes(), std::vector<std::int64_t>(static_cast<std::size_t>(size_), bytes), scratch_.data());
    std::vector<std::byte*> parts;
    for (int peer = 0; peer < size_; ++peer) parts.push_back(scratch_.data() + peer * bytes);
    combine_in_order(call.x.dtype(), parts, call.x.bytes(), bytes, op);
  }

  void gather(const Call& call, std::byte* source, const std::vector<std::int64_t>& bytes, std::byte* target) {
    const std::int64_t total = std::accumulate(bytes.begin(), bytes.end(), std::int64_t{0});
    if (total > kLargestMessageBytes) {
      const Message own{rank_, source, bytes[static_cast<std::size_t>(rank_)]};
      const std::vector<Message> slices = slices_of(target, bytes);
      copy_own(own, slices);
      return exchange(call, to_others(own), of_others(slices));
    }
    counts_.assign(bytes.begin(), bytes.end());
    places_.resize(bytes.size());
    std::exclusive_scan(counts_.begin(), counts_.end(), places_.begin(), 0);
    requests_.emplace_back();
    peers_.push_back(kAnyPeer);
    const void* own = source == target + places_[static_cast<std::size_t>(rank_)] ? MPI_IN_PLACE : static_cast<const void*>(source);
    check(MPI_Iallgatherv(own, counts_[static_cast<std::size_t>(rank_)], MPI_BYTE, target, counts_.data(), places_.data(), MPI_BYTE, comm_,
                          &requests_.back()),
          "MPI_Iallgatherv");
    wait(call);
  }

  /// All messages at once; empty ones are not sent.
  void exchange(const Call& call, const std::vector<Message>& sends, const std::vector<Message>& receives) {
    for (const Message& message : receives) {
      post(message, [this](std::byte* data, int bytes, int peer, MPI_Request* request) {
        check(MPI_Irecv(data, bytes, MPI_BYTE, peer, 0, comm_, request), "MPI_Irecv");
      });
    }
    for (const Message& message : sends) {
      post(message, [this](std::byte* data, int bytes, int peer, MPI_Request* request) {
        check(MPI_Isend(data, bytes, MPI_BYTE, peer, 0, comm_, request), "MPI_Isend");
      });
    }
    wait(call);
  }

  template <class Post>
  void post(const Message& message, Post post_one) {
    for (std::int64_t begin = 0; begin < message.bytes; begin += kLargestMessageBytes) {
      requests_.emplace_back();
      peers_.push_back(message.peer);
      post_one(message.data + begin, static_cast<int>(std::min(kLargestMessageBytes, message.bytes - begin)), message.peer,
               &requests_.back());
    }
  }

  /// Waits for all posted messages. MPI's own wait polls without pause and would take a core from the computing threads: this one
  /// polls while messages keep arriving, then naps in between; beside computing, which may share its core, it naps at once and each time as
  /// long as it has waited already. It also knows who is missing when the time is up.
  void wait(const Call& call) {
    const bool patient = patience_ == Patience::beside_computing;
    const auto start = Clock::now();
    auto progress = start;
    done_.resize(requests_.size());
    std::size_t pending = requests_.size();
    while (pending > 0) {
      int count = 0;
      check(MPI_Testsome(static_cast<int>(requests_.size()), requests_.data(), &count, done_.data(), MPI_STATUSES_IGNORE), call.name);
      const auto now = Clock::now();
      if (count > 0) {
        pending -= static_cast<std::size_t>(count);
        progress = now;
      } else if (patient || now - progress > kSpinTime) {
        const double deadline = timeout_seconds_ + (watchdog_ ? kWatchdogSeconds : 0.0);
        if (now - start > std::chrono::duration<double>(deadline)) throw_missing(call);
        std::this_thread::sleep_for(
            std::clamp<Clock::duration>((now - progress) / (patient ? 1 : kNapsInAWait), kNapTime, kLongestNapTime));
      }
    }
    requests_.clear();
    peers_.clear();
  }

  [[noreturn]] void throw_missing(const Call& call) const {
    std::string missing;
    for (std::size_t i = 0; i < requests_.size(); ++i) {
      if (requests_[i] == MPI_REQUEST_NULL || peers_[i] == kAnyPeer) continue;
      const std::string peer = std::to_string(peers_[i]);
      if ((" " + missing).find(" " + peer + " ") == std::string::npos) missing += peer + " ";
    }
    throw CommunicationError(concat(call.name, " of ", call.x.numel(), " ", name_of(call.x.dtype()), " over ", name_, " (rank ", rank_,
                                    " of ", size_, " there): ", missing.empty() ? "another rank" : "rank " + missing + "there",
                                    " has not answered for ", timeout_seconds_,
                                    " s; find out what it does, or raise parallel.timeout_seconds"));
  }

  static constexpr int kAnyPeer = -1;
  MPI_Comm comm_;
  CollectiveGroup group_;
  int rank_ = 0;
  int size_ = 1;
  int children_ = 0;  // communicators made of this one: the same number on all its ranks
  // Kept between calls, so that a steady step allocates nothing.
  std::vector<std::byte> scratch_;
  std::vector<MPI_Request> requests_;
  std::vector<int> peers_, done_, counts_, places_;
};

}  // namespace

namespace mpi {

std::unique_ptr<Communicator> world() {
  MPI_Comm copy = MPI_COMM_NULL;
  check(MPI_Comm_dup(MPI_COMM_WORLD, &copy), "MPI_Comm_dup");
  return std::make_unique<MpiCommunicator>(copy, "0", "0");
}

std::unique_ptr<Communicator> ranks_of_this_host() {
  MPI_Comm local = MPI_COMM_NULL;
  check(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &local), "MPI_Comm_split_type");
  auto host = std::make_unique<MpiCommunicator>(local, "0", concat("host of rank ", members_of(local).front()));
  host->set_name("this host");
  return host;
}

}  // namespace mpi
}  // namespace trident
