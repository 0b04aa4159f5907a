#include "parallel/mesh.h"

#include <optional>
#include <set>
#include <utility>

#include "parallel/counting_communicator.h"
#include "runtime/error.h"

namespace trident {
namespace {

constexpr std::array<Axis, kNumAxes> kAxes{Axis::data, Axis::domain_y, Axis::domain_x, Axis::tensor};

std::size_t index_of(Axis axis) { return static_cast<std::size_t>(axis); }

/// This rank's coordinates, `order` from the fastest axis to the slowest.
MeshSizes coordinates_of(int rank, const MeshSizes& sizes, const MeshOrder& order) {
  MeshSizes coordinates{};
  for (const Axis axis : order) {
    coordinates[index_of(axis)] = rank % sizes[index_of(axis)];
    rank /= sizes[index_of(axis)];
  }
  return coordinates;
}

/// Row-major number of the coordinates over the axes in, or not in, `axes`.
int number_of(const MeshSizes& coordinates, const MeshSizes& sizes, AxisSet axes, bool in) {
  int number = 0;
  for (const Axis axis : kAxes) {
    if (axes.contains(axis) == in) number = number * sizes[index_of(axis)] + coordinates[index_of(axis)];
  }
  return number;
}

std::string names_of(AxisSet axes) {
  std::string names;
  for (const Axis axis : kAxes) {
    if (axes.contains(axis)) names += concat(names.empty() ? "" : " ", name_of(axis));
  }
  return names;
}

void require_sizes(const MeshSizes& sizes, const MeshOrder& order, int ranks) {
  AxisSet seen;
  for (const Axis axis : order) seen = seen | axis;
  if (seen != AxisSet::all()) throw ConfigError("mesh: the order must name each axis once; correct parallel.order");
  std::int64_t product = 1;
  for (const int size : sizes) product *= size < 1 ? 0 : size;
  if (product == ranks) return;
  std::string text;
  for (const Axis axis : kAxes) text += concat(text.empty() ? "" : " x ", name_of(axis), " ", sizes[index_of(axis)]);
  throw ConfigError(concat("mesh: ", text, " makes ", product, " ranks, but the job has ", ranks,
                           "; start as many (mpirun -n, srun -n) or change the sizes under parallel"));
}

}  // namespace

struct Mesh::State {
  MeshSizes sizes{1, 1, 1, 1};
  MeshSizes coordinates{};
  MeshOrder order = kDefaultOrder;
  StreamMode mode = StreamMode::overlapped;
  std::shared_ptr<Communicator> world;
  std::array<std::shared_ptr<Communicator>, 1U << kNumAxes> comms;  // by AxisSet bits; null in a mesh that is only described
  std::unique_ptr<Stream> stream;
  std::optional<Mesh> background;

  /// Axes of one rank change nothing: sets that differ in them alone share a communicator. Without any other it is the identity.
  template <class Make>
  void make_comms(Make make) {
    AxisSet longer;
    for (const Axis axis : kAxes) {
      if (sizes[index_of(axis)] > 1) longer = longer | axis;
    }
    for (unsigned bits = 0; bits < comms.size(); ++bits) {
      AxisSet axes;
      for (const Axis axis : kAxes) {
        if ((bits & AxisSet(axis).bits()) != 0 && longer.contains(axis)) axes = axes | axis;
      }
      std::shared_ptr<Communicator>& comm = comms[axes.bits()];
      if (!comm) {
        comm = axes == AxisSet{} ? make_self_communicator() : make(axes);
        comm->set_name(names_of(axes));
      }
      comms[bits] = comm;
    }
  }
};

const char* name_of(Axis axis) {
  constexpr std::array<const char*, kNumAxes> names{"data", "domain_y", "domain_x", "tensor"};
  return names[index_of(axis)];
}

Mesh::Mesh() : Mesh(make_self_communicator(), {1, 1, 1, 1}) {}

Mesh::Mesh(std::shared_ptr<Communicator> world, const MeshSizes& sizes, const MeshOrder& order, StreamMode mode)
    : state_(std::make_shared<State>()) {
  require_sizes(sizes, order, world->size());
  state_->sizes = sizes;
  state_->order = order;
  state_->mode = mode;
  state_->coordinates = coordinates_of(world->rank(), sizes, order);
  state_->make_comms([&](AxisSet axes) {
    return world->split(number_of(state_->coordinates, sizes, axes, false), number_of(state_->coordinates, sizes, axes, true));
  });
  if (world->size() > 1 && mode == StreamMode::overlapped) {
    state_->stream = world->make_stream();
  } else {
    state_->stream = std::make_unique<InlineStream>();
  }
  state_->world = std::move(world);
}

Mesh Mesh::described(const MeshSizes& sizes, const MeshSizes& coordinates) {
  Mesh mesh;
  *mesh.state_ = State{};
  mesh.state_->sizes = sizes;
  mesh.state_->coordinates = coordinates;
  return mesh;
}

Mesh Mesh::counting(const MeshSizes& sizes, const MeshSizes& coordinates) {
  Mesh mesh = described(sizes, coordinates);
  for (Mesh lane : {mesh, mesh.state_->background.emplace(described(sizes, coordinates))}) {
    lane.state_->make_comms([&](AxisSet axes) -> std::unique_ptr<Communicator> {
      return std::make_unique<CountingCommunicator>(number_of(coordinates, sizes, axes, true), lane.size(axes));
    });
    lane.state_->stream = std::make_unique<InlineStream>();
  }
  return mesh;
}

int Mesh::size(Axis axis) const { return state_->sizes[index_of(axis)]; }
int Mesh::coordinate(Axis axis) const { return state_->coordinates[index_of(axis)]; }

int Mesh::size(AxisSet axes) const {
  int product = 1;
  for (const Axis axis : kAxes) product *= axes.contains(axis) ? size(axis) : 1;
  return product;
}

Communicator& Mesh::comm(AxisSet axes) const {
  const auto& comm = state_->comms[axes.bits()];
  if (!comm) throw CommunicationError("mesh: it is only described and has no ranks to talk to; build it on a communicator");
  return *comm;
}

Stream& Mesh::stream() const {
  if (!state_->stream) throw CommunicationError("mesh: it is only described and has no stream; build it on a communicator");
  return *state_->stream;
}

Mesh Mesh::duplicate() const {
  if (!state_->world) throw CommunicationError("mesh: it is only described and has no ranks to duplicate; build it on a communicator");
  return Mesh(state_->world->duplicate(), state_->sizes, state_->order, state_->mode);
}

Mesh Mesh::background() const {
  if (state_->background) return *state_->background;
  const bool serialised = state_->mode == StreamMode::serialised;
  if (serialised || !state_->world || state_->world->size() == 1 || !state_->world->has_concurrent_lanes()) return *this;
  state_->background = duplicate();
  for (const auto& comm : state_->background->state_->comms) comm->set_patience(Patience::beside_computing);
  return *state_->background;
}

std::int64_t Mesh::bytes_sent() const {
  std::set<const Communicator*> all;
  for (const auto& comm : state_->comms) all.insert(comm.get());
  std::int64_t bytes = state_->background ? state_->background->bytes_sent() : 0;
  for (const Communicator* comm : all) bytes += comm ? comm->bytes_sent() : 0;
  return bytes;
}

std::string to_string(const Mesh& mesh) {
  std::string text;
  for (const Axis axis : kAxes) {
    if (mesh.size(axis) > 1) text += concat(text.empty() ? "" : " ", name_of(axis), " ", mesh.coordinate(axis));
  }
  return text;
}

}  // namespace trident
