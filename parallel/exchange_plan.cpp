#include "parallel/exchange_plan.h"

#include <algorithm>
#include <array>

namespace trident {
namespace {

using Moves = ExchangePlan::Moves;

/// Consecutive indices of one axis that one rank owns and one wants, as places in what it holds and in what it gets.
struct Segment {
  Range from, to;
};
using Segments = std::vector<Segment>;

std::int64_t length_of(const Indices& list) {
  std::int64_t length = 0;
  for (const Range& run : list) length += run.size();
  return length;
}

Segments segments_of(const Range& owned, const Indices& wanted) {
  Segments segments;
  std::int64_t place = 0;
  for (const Range& run : wanted) {
    const std::int64_t first = std::max(run.first, owned.first), last = std::min(run.last, owned.last);
    if (first < last) {
      segments.push_back({{first - owned.first, last - owned.first}, {place + first - run.first, place + last - run.first}});
    }
    place += run.size();
  }
  return segments;
}

/// What one rank owns and one wants, as pairs of boxes.
std::vector<Moves::Copy> common(const GridBox& owned, const Sites& wanted) {
  std::vector<Moves::Copy> copies;
  const Segments columns = segments_of(owned.columns, wanted.columns), rows = segments_of(owned.rows, wanted.rows);
  for (const Segment& s : segments_of(owned.samples, wanted.samples)) {
    for (const Segment& r : rows) {
      for (const Segment& c : columns) copies.push_back({{s.from, r.from, c.from}, {s.to, r.to, c.to}});
    }
  }
  return copies;
}

/// Places of a list outside of [0, extent).
Indices places_outside(const Indices& list, std::int64_t extent) {
  Indices places;
  std::int64_t place = 0;
  for (const Range& run : list) {
    const std::int64_t below = std::clamp<std::int64_t>(-run.first, 0, run.size());
    const std::int64_t above = std::clamp<std::int64_t>(run.last - extent, 0, run.size() - below);
    if (below > 0) places.push_back({place, place + below});
    if (above > 0) places.push_back({place + run.size() - above, place + run.size()});
    place += run.size();
  }
  return places;
}

std::vector<GridBox> zeros_of(const std::vector<GridBox>& owned, const Sites& wanted) {
  GridBox grid;
  for (const GridBox& box : owned) {
    grid.samples.last = std::max(grid.samples.last, box.samples.last);
    grid.rows.last = std::max(grid.rows.last, box.rows.last);
    grid.columns.last = std::max(grid.columns.last, box.columns.last);
  }
  const Range samples{0, length_of(wanted.samples)}, rows{0, length_of(wanted.rows)}, columns{0, length_of(wanted.columns)};
  std::vector<GridBox> zeros;
  for (const Range& run : places_outside(wanted.samples, grid.samples.last)) zeros.push_back({run, rows, columns});
  for (const Range& run : places_outside(wanted.rows, grid.rows.last)) zeros.push_back({samples, run, columns});
  for (const Range& run : places_outside(wanted.columns, grid.columns.last)) zeros.push_back({samples, rows, run});
  return zeros;
}

bool is_range(const Indices& list, const Range& range) {
  if (length_of(list) != range.size()) return false;
  std::int64_t next = range.first;
  for (const Range& run : list) {
    if (run.size() > 0 && run.first != next) return false;
    next += run.size();
  }
  return true;
}

bool is_box(const Sites& sites, const GridBox& box) {
  return is_range(sites.samples, box.samples) && is_range(sites.rows, box.rows) && is_range(sites.columns, box.columns);
}

bool disjoint(const Range& a, const Range& b) { return a.last <= b.first || b.last <= a.first; }
bool disjoint(const GridBox& a, const GridBox& b) {
  return disjoint(a.samples, b.samples) || disjoint(a.rows, b.rows) || disjoint(a.columns, b.columns);
}

bool fills_once(const std::vector<GridBox>& boxes, const GridBox& whole) {
  std::int64_t sites = 0;
  for (std::size_t i = 0; i < boxes.size(); ++i) {
    sites += boxes[i].sites();
    for (std::size_t j = 0; j < i; ++j) {
      if (!disjoint(boxes[i], boxes[j])) return false;
    }
  }
  return sites == whole.sites();
}

std::int64_t sum_of(const std::vector<Moves::Message>& messages) {
  std::int64_t sites = 0;
  for (const Moves::Message& message : messages) sites += message.sites;
  return sites;
}

void add_message(std::vector<Moves::Message>& messages, int peer, const std::vector<Moves::Copy>& copies, GridBox Moves::Copy::*end) {
  if (copies.empty()) return;
  Moves::Message message{.peer = peer, .boxes = {}, .sites = 0};
  for (const Moves::Copy& copy : copies) {
    message.boxes.push_back(copy.*end);
    message.sites += copy.from.sites();
  }
  messages.push_back(std::move(message));
}

bool nothing_travels(const std::vector<GridBox>& owned, const std::vector<Sites>& wanted) {
  for (std::size_t p = 0; p < owned.size(); ++p) {
    for (std::size_t q = 0; q < wanted.size(); ++q) {
      if (p != q && !common(owned[p], wanted[q]).empty()) return false;
    }
  }
  return true;
}

}  // namespace

Sites sites_of(const GridBox& box) { return {{box.samples}, {box.rows}, {box.columns}}; }

ExchangePlan::ExchangePlan(const std::vector<GridBox>& owned, const std::vector<Sites>& wanted, int rank) {
  const auto self = static_cast<std::size_t>(rank);
  const GridBox& own = owned.at(self);
  const Sites& want = wanted.at(self);
  auto moves = std::make_shared<Moves>();
  moves->source = {own.samples.size(), own.rows.size(), own.columns.size()};
  moves->target = {length_of(want.samples), length_of(want.rows), length_of(want.columns)};
  moves->copies = common(own, want);
  moves->zeros = zeros_of(owned, want);
  for (std::size_t peer = 0; peer < owned.size(); ++peer) {
    if (peer == self) continue;
    add_message(moves->sends, static_cast<int>(peer), common(own, wanted[peer]), &Moves::Copy::from);
    add_message(moves->receives, static_cast<int>(peer), common(owned[peer], want), &Moves::Copy::to);
  }
  std::vector<GridBox> leaving;
  for (const Moves::Copy& copy : moves->copies) leaving.push_back(copy.from);
  for (const Moves::Message& message : moves->sends) leaving.insert(leaving.end(), message.boxes.begin(), message.boxes.end());
  moves->once = fills_once(leaving, own);
  moves->local = nothing_travels(owned, wanted);
  moves->identity = std::equal(wanted.begin(), wanted.end(), owned.begin(), owned.end(), is_box);
  moves_ = std::move(moves);
}

ExchangePlan ExchangePlan::transposed() const {
  ExchangePlan other = *this;
  other.transposed_ = !transposed_;
  return other;
}

const Shape& ExchangePlan::source() const { return transposed_ ? moves_->target : moves_->source; }
const Shape& ExchangePlan::target() const { return transposed_ ? moves_->source : moves_->target; }
bool ExchangePlan::is_identity() const { return moves_->identity; }
bool ExchangePlan::is_local() const { return moves_->local; }
std::int64_t ExchangePlan::sites_sent() const { return sum_of(transposed_ ? moves_->receives : moves_->sends); }
std::int64_t ExchangePlan::sites_received() const { return sum_of(transposed_ ? moves_->sends : moves_->receives); }

}  // namespace trident
