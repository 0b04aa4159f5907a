/// What a plan takes for granted of the machine, and the time of a step on it.
#pragma once

#include <optional>
#include <string>

#include "launch/plan/rehearsal.h"

namespace trident {

/// One device: a GPU, or a rank's share of a node's processors. Links are what one device gets of them while all use them.
struct Machine {
  std::int64_t memory = 0;  // bytes
  double flops = 0.0;       // a second, of large products
  double bandwidth = 0.0;   // bytes a second, of memory
  double inside = 0.0;      // bytes a second that a device sends to others of its node
  double between = 0.0;     // and to other nodes
  double latency = 0.0;     // seconds of an exchange of nothing
  int devices_per_node = 1;
};

/// What --memory and its like say; nothing: the defaults of assumed_machine().
struct MachineOptions {
  std::optional<std::string> memory;                                                              // "80GiB"
  std::optional<double> teraflops, memory_bandwidth, node_bandwidth, network_bandwidth, latency;  // GB/s, microseconds
  std::optional<int> devices_per_node;
};

/// On the CPU what this machine has and reaches now (of products four fifths), divided by the ranks of a node; of GPUs an H100 at about
/// half of its peaks, and the memory of this machine's GPU if it has one. Throws ConfigError.
Machine assumed_machine(const MachineOptions& options, const RunConfig& config, int devices);

/// The part of a device's memory that a plan uses: the rest is for the system, libraries, and gaps between blocks.
inline constexpr double kUsableMemory = 0.9;

/// Bytes of "80GiB", "512 MB"; nothing if it is no amount of memory.
std::optional<std::int64_t> bytes_of_text(const std::string& text);

/// An estimate: operations at the rates of the machine, one after the other.
struct StepTime {
  double computing = 0.0;  // seconds
  double waiting = 0.0;    // for what is sent, but what the backward hides
  double total() const { return computing + waiting; }
};
StepTime step_time(const RankNeeds& needs, const Machine& machine, const MeshSizes& sizes, const MeshOrder& order);

}  // namespace trident
