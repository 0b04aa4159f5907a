/// Who sends what to whom when a grid changes hands: immutable, and built by each rank alone from what all ranks own and want.
///
/// A site is a (sample, row, column); the numbers at a site (its channels) move together. Before the exchange E every site is owned by one
/// rank, and a rank owns a box; after it, each rank holds the product of three lists of indices that it wanted, in any order and
/// overlapping others' lists, zero where nobody owns. E copies. Its transpose E' takes what E gives: what E filled with zeros is dropped,
/// the rest is added into the owners.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "parallel/range.h"
#include "runtime/tensor/shape.h"

namespace trident {

/// Consecutive samples, rows and columns.
struct GridBox {
  Range samples, rows, columns;
  std::int64_t sites() const { return samples.size() * rows.size() * columns.size(); }
  bool operator==(const GridBox&) const = default;
};

/// Indices in order: consecutive runs, one after the other. Indices that nobody owns (below 0, past the grid) mean zero.
using Indices = std::vector<Range>;

/// What one rank wants: the product of three lists.
struct Sites {
  Indices samples, rows, columns;
};
/// The sites of a box, in order.
Sites sites_of(const GridBox& box);

/// A value handle: copies share what was built.
class ExchangePlan {
 public:
  ExchangePlan() = default;  // none
  /// What each rank owns and wants, by its number among the ranks that exchange; `rank`: this one.
  ExchangePlan(const std::vector<GridBox>& owned, const std::vector<Sites>& wanted, int rank);

  /// The exchange in the other direction: E <-> E'.
  ExchangePlan transposed() const;

  /// (samples, rows, columns) of the tensor that goes in, and of the one that comes out.
  const Shape& source() const;
  const Shape& target() const;
  /// Whether what goes in is what comes out, on all ranks.
  bool is_identity() const;
  /// Whether nothing travels between any two ranks.
  bool is_local() const;
  /// Between this rank and others: prod|own & want| summed over the ranks that are not this one.
  std::int64_t sites_sent() const;
  std::int64_t sites_received() const;

  struct Moves;  // parallel/exchange_plan.cpp, exchange.cpp
  const Moves& moves() const { return *moves_; }
  bool is_transposed() const { return transposed_; }

 private:
  std::shared_ptr<const Moves> moves_;
  bool transposed_ = false;
};

/// How this rank takes part in E: boxes are places in the tensors that go in and come out.
struct ExchangePlan::Moves {
  /// With one other rank; both list the boxes in the same order.
  struct Message {
    int peer;
    std::vector<GridBox> boxes;
    std::int64_t sites;
  };
  struct Copy {
    GridBox from, to;
  };

  Shape source, target;
  std::vector<Message> sends, receives;  // ascending peers; places in the source, in the target
  std::vector<Copy> copies;              // that stay on this rank
  std::vector<GridBox> zeros;            // places in the target, which cover what nobody owns
  bool once = false;                     // every site of the source is wanted exactly once
  bool identity = false, local = false;  // on all ranks
};

}  // namespace trident
