/// The ranks of a job as a grid with named axes. Passed in, never global; one rank is a mesh of ones.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "parallel/communicator.h"
#include "runtime/device/stream.h"

namespace trident {

enum class Axis : std::uint8_t { data, domain_y, domain_x, tensor };
inline constexpr int kNumAxes = 4;
const char* name_of(Axis axis);

/// A set of axes: the ranks that differ in these coordinates alone.
class AxisSet {
 public:
  constexpr AxisSet() = default;
  constexpr AxisSet(Axis axis) : bits_(static_cast<std::uint8_t>(1U << static_cast<unsigned>(axis))) {}  // NOLINT: an axis is a set
  constexpr bool contains(Axis axis) const { return (bits_ >> static_cast<unsigned>(axis) & 1U) != 0; }
  constexpr AxisSet operator|(AxisSet other) const { return AxisSet(static_cast<std::uint8_t>(bits_ | other.bits_)); }
  constexpr AxisSet without(AxisSet other) const { return AxisSet(static_cast<std::uint8_t>(bits_ & ~other.bits_)); }
  constexpr bool operator==(const AxisSet&) const = default;
  constexpr std::uint8_t bits() const { return bits_; }
  static constexpr AxisSet all() { return AxisSet(std::uint8_t{0xF}); }

 private:
  constexpr explicit AxisSet(std::uint8_t bits) : bits_(bits) {}
  std::uint8_t bits_ = 0;
};
constexpr AxisSet operator|(Axis a, Axis b) { return AxisSet(a) | AxisSet(b); }

using MeshSizes = std::array<int, kNumAxes>;  // by Axis
using MeshOrder = std::array<Axis, kNumAxes>;
inline constexpr MeshOrder kDefaultOrder{Axis::tensor, Axis::domain_x, Axis::domain_y, Axis::data};

/// overlapped: communication runs on a worker thread beside the computing one; serialised: inline, for debugging. Same bits either way.
enum class StreamMode { overlapped, serialised };

/// A value handle: copies share the communicators. Used by one thread; a serving lane takes duplicate().
class Mesh {
 public:
  /// One rank.
  Mesh();
  /// All ranks of `world`, `order` from the fastest axis to the slowest (tensor neighbours share a node). Collective.
  /// Throws ConfigError, on every rank alike, if the product of the sizes is not the number of ranks.
  Mesh(std::shared_ptr<Communicator> world, const MeshSizes& sizes, const MeshOrder& order = kDefaultOrder,
       StreamMode mode = StreamMode::overlapped);
  /// Sizes and coordinates only, for planning and inspecting: comm() throws CommunicationError.
  static Mesh described(const MeshSizes& sizes, const MeshSizes& coordinates);
  /// The same with communicators that count what this rank would send, here and in the background, and move nothing: for tensors of counted
  /// devices (runtime/device/device.h).
  static Mesh counting(const MeshSizes& sizes, const MeshSizes& coordinates);

  int size(Axis axis) const;
  int coordinate(Axis axis) const;
  int size(AxisSet axes) const;  // product
  /// The ranks that share this rank's other coordinates, numbered row-major over `axes` in the order of Axis, whatever the order of the
  /// mesh: closed formulas know who is who. comm(AxisSet{}) is the identity.
  Communicator& comm(AxisSet axes) const;
  Communicator& world() const { return comm(AxisSet::all()); }
  /// The stream of all communication of this mesh: while work is on it, no other thread calls a communicator. One rank: inline.
  Stream& stream() const;
  Mesh duplicate() const;  // collective; communicators and a stream of its own
  /// For exchanges that computing hides: another lane of the same ranks, whose exchanges neither wait for those of this mesh nor hold them
  /// up, and leave the processor to the computing thread while they wait. The mesh itself if its communicators cannot be in two exchanges
  /// at once. The first call is collective.
  Mesh background() const;
  /// Bytes that this rank has sent so far, over all axes, also in the background.
  std::int64_t bytes_sent() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

/// "data 0 domain_y 1 tensor 1": this rank's coordinates on axes longer than 1.
std::string to_string(const Mesh& mesh);

}  // namespace trident
