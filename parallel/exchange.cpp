#include "parallel/exchange.h"

#include <future>
#include <utility>
#include <vector>

#include "runtime/autograd/tape.h"
#include "runtime/device/cuda_device.h"
#include "runtime/error.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"

namespace trident {
namespace {

constexpr AxisSet kDomain = Axis::domain_y | Axis::domain_x;

using Messages = std::vector<ExchangePlan::Moves::Message>;

/// The sites of a box in a tensor (samples, rows, columns, width).
Tensor sites_in(const Tensor& x, const GridBox& box) {
  const Tensor rows = view::slice(view::slice(x, 0, box.samples.first, box.samples.last), 1, box.rows.first, box.rows.last);
  return view::slice(rows, 2, box.columns.first, box.columns.last);
}

/// Calls visit(part of `x`, its place in the packed `buffer`) for each box of the messages, in their order.
template <class Visit>
void for_each_part(const Messages& messages, const Tensor& x, const Tensor& buffer, Visit visit) {
  std::int64_t place = 0;
  for (const auto& message : messages) {
    for (const GridBox& box : message.boxes) {
      const Tensor part = sites_in(x, box);
      visit(part, view::reshape(view::slice(buffer, 0, place, place + part.numel()), part.shape()));
      place += part.numel();
    }
  }
}

std::vector<std::int64_t> counts_of(const Messages& messages, int ranks, std::int64_t width) {
  std::vector<std::int64_t> counts(static_cast<std::size_t>(ranks));
  for (const auto& message : messages) counts[static_cast<std::size_t>(message.peer)] = message.sites * width;
  return counts;
}

Tensor buffer_for(const Messages& messages, const Tensor& x) {
  std::int64_t sites = 0;
  for (const auto& message : messages) sites += message.sites;
  return empty({sites * x.size(3)}, x.dtype(), x.device());
}

void require_source(const ExchangePlan& plan, const Tensor& x) {
  const Shape& expected = plan.source();
  if (x.rank() == 4 && Shape{x.size(0), x.size(1), x.size(2)} == expected) return;
  throw ShapeError(concat("exchange: tensor ", to_string(x.shape()), " is not of the plan's ", to_string(expected),
                          " samples, rows and columns; pass (samples, rows, columns, numbers of a site)"));
}

/// The part of the exchange that needs no other rank: what stays, and zeros where nothing will arrive.
void copy_own(const ExchangePlan& plan, const Tensor& x, const Tensor& y) {
  const auto& moves = plan.moves();
  if (!plan.is_transposed()) {
    for (const GridBox& box : moves.zeros) set_zero(sites_in(y, box));
    for (const auto& copy : moves.copies) copy_into(sites_in(y, copy.to), sites_in(x, copy.from));
    return;
  }
  if (!moves.once) set_zero(y);
  for (const auto& copy : moves.copies) {
    const Tensor to = sites_in(y, copy.from), from = sites_in(x, copy.to);
    if (moves.once) {
      copy_into(to, from);
    } else {
      add_into(to, from);
    }
  }
}

/// What travels, packed.
struct Parcels {
  Tensor leaving, arriving;
  std::vector<std::int64_t> sent, received;  // numbers, by rank

  Parcels(const Mesh& mesh, const ExchangePlan& plan, const Tensor& x) {
    const auto& moves = plan.moves();
    const bool back = plan.is_transposed();
    const Messages &sends = back ? moves.receives : moves.sends, &receives = back ? moves.sends : moves.receives;
    leaving = buffer_for(sends, x), arriving = buffer_for(receives, x);
    sent = counts_of(sends, mesh.size(kDomain), x.size(3)), received = counts_of(receives, mesh.size(kDomain), x.size(3));
    for_each_part(sends, x, leaving, [](const Tensor& part, const Tensor& packed) { copy_into(packed, part); });
  }
  void travel(Communicator& comm) const { comm.all_to_all(leaving, sent, arriving, received); }
};

/// The exchange of x, complete but for what arrives.
Tensor without_others(const ExchangePlan& plan, const Tensor& x) {
  const Shape& extents = plan.target();
  const Tensor result = empty({extents[0], extents[1], extents[2], x.size(3)}, x.dtype(), x.device());
  copy_own(plan, x, result);
  return result;
}

void put_arrived(const ExchangePlan& plan, const Tensor& arrived, const Tensor& result) {
  const auto& moves = plan.moves();
  const bool back = plan.is_transposed(), adds = back && !moves.once;
  for_each_part(back ? moves.sends : moves.receives, result, arrived,
                [put = adds ? add_into : copy_into](const Tensor& part, const Tensor& packed) { put(part, packed); });
}

/// All at once, on this thread, which would only wait for another.
Tensor exchanged(const Mesh& mesh, const ExchangePlan& plan, const Tensor& x) {
  if (plan.is_local()) return without_others(plan, x);
  const Parcels parcels(mesh, plan, x);
  mesh.stream().synchronize();
  parcels.travel(mesh.comm(kDomain));
  const Tensor result = without_others(plan, x);
  put_arrived(plan, parcels.arriving, result);
  return result;
}

}  // namespace

struct Exchange::Flight {
  Mesh mesh;
  ExchangePlan plan;
  Tensor result;                      // complete but for what arrives
  Tensor arriving;                    // packed
  std::future<void> landed;           // not valid if nothing travels
  std::shared_ptr<CudaEvent> moment;  // of the communication stream, when a device has put it there; null on the CPU
};

std::shared_ptr<Exchange::Flight> Exchange::launch(const Mesh& mesh, const ExchangePlan& plan, const Tensor& x) {
  require_source(plan, x);
  auto flight = std::make_shared<Flight>();
  flight->mesh = mesh, flight->plan = plan;
  if (!plan.is_local()) {
    const Parcels parcels(mesh, plan, x);
    flight->arriving = parcels.arriving;
    auto done = std::make_shared<std::promise<void>>();
    if (x.device().is_gpu()) flight->moment = std::make_shared<CudaEvent>(x.device());
    flight->landed = done->get_future();
    mesh.stream().enqueue([done, parcels, moment = flight->moment, &comm = mesh.comm(kDomain)] {
      parcels.travel(comm);
      if (moment) moment->record(current_stream(parcels.arriving.device()));
      done->set_value();
    });
  }
  flight->result = without_others(plan, x);
  return flight;
}

Tensor Exchange::land(Flight& flight) {
  if (!flight.landed.valid()) return flight.result;
  try {
    flight.landed.get();
  } catch (const std::future_error&) {  // the stream has dropped the job after an error, and tells which
    flight.mesh.stream().synchronize();
    throw;
  }
  if (flight.moment) order_after(current_stream(flight.arriving.device()), *flight.moment);
  put_arrived(flight.plan, flight.arriving, flight.result);
  return flight.result;
}

Exchange::Exchange(const Mesh& mesh, const ExchangePlan& plan, const Tensor& x)
    : mesh_(mesh), plan_(plan), flight_(launch(mesh, plan, x)), home_(std::make_shared<std::shared_ptr<Flight>>()) {
  token_ = record("exchange_start", empty({0}, x.dtype(), x.device()), {x},
                  [home = home_](const Tensor&, Wanted) { return std::vector{land(**home)}; });
}

Tensor Exchange::finish() && {
  const Tensor y = land(*std::exchange(flight_, nullptr));
  return record("exchange_finish", y, {token_}, [home = home_, mesh = mesh_, plan = plan_](const Tensor& dy, Wanted) {
    *home = launch(mesh, plan.transposed(), dy);
    return std::vector{empty({0}, dy.dtype(), dy.device())};  // the token's gradient is the flight
  });
}

Tensor exchange(const Mesh& mesh, const ExchangePlan& plan, const Tensor& x) {
  require_source(plan, x);
  if (plan.is_identity()) return x;
  return record("exchange", exchanged(mesh, plan, x), {x},
                [mesh, plan](const Tensor& dy, Wanted) { return std::vector{exchanged(mesh, plan.transposed(), dy)}; });
}

}  // namespace trident
