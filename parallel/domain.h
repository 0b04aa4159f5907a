/// How the ranks of domain_y x domain_x share fields and grids of tokens, and the plans between their shares. Closed forms: no rank asks
/// another. Plans are built once for each size and shared by copies; calls are thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "parallel/exchange_plan.h"
#include "parallel/mesh.h"

namespace trident {

/// Numbers ranks row-major over (domain_y, domain_x), as the communicator of both axes does; lists of boxes are in that order.
class Domain {
 public:
  explicit Domain(const Mesh& mesh);

  const Mesh& mesh() const { return mesh_; }
  int ranks_y() const { return mesh_.size(Axis::domain_y); }
  int ranks_x() const { return mesh_.size(Axis::domain_x); }
  int ranks() const { return ranks_y() * ranks_x(); }
  int rank() const { return mesh_.coordinate(Axis::domain_y) * ranks_x() + mesh_.coordinate(Axis::domain_x); }

  /// Part of ny rows by domain_y, part of nx columns by domain_x: this rank's.
  Rectangle rectangle(std::int64_t ny, std::int64_t nx) const;
  /// All samples of each rank's rectangle.
  std::vector<GridBox> rectangles(std::int64_t samples, std::int64_t ny, std::int64_t nx) const;
  /// Whole fields, the samples shared out.
  std::vector<GridBox> planes(std::int64_t samples, std::int64_t ny, std::int64_t nx) const;
  /// This rank's part in an exchange between all of them; built once and kept.
  ExchangePlan plan(const std::vector<GridBox>& owned, const std::vector<Sites>& wanted) const;
  ExchangePlan plan(const std::vector<GridBox>& owned, const std::vector<GridBox>& wanted) const;

 private:
  struct Cache;
  Mesh mesh_;
  std::shared_ptr<Cache> cache_;
};

/// The boxes with `width` more rows and columns on each side, corners included; outside of the grid they mean zero.
std::vector<Sites> with_halo(const std::vector<GridBox>& boxes, std::int64_t width);

/// A grid of tokens cut into square windows; the last ones may be partial.
struct WindowedGrid {
  std::int64_t rows = 0, columns = 0;
  std::int64_t window = 0;  // tokens per side
  std::int64_t shift = 0;   // tokens, of blocks with shifted windows; 0: there are none
  std::int64_t halo = 0;    // tokens around a token that convolutions see

  std::int64_t windows_y() const { return (rows + window - 1) / window; }
  std::int64_t windows_x() const { return (columns + window - 1) / window; }
  bool operator==(const WindowedGrid&) const = default;
};

/// A rectangle of whole windows on this rank, and how their tokens come to it.
struct WindowPart {
  ExchangePlan arriving;                         // from the owned tokens; transposed: the results' way home
  std::int64_t first_row = 0, first_column = 0;  // tokens of the global grid, padded to whole windows and rolled by `shift`
};

/// One level of a pyramid of grids for one batch size, as this rank sees it.
struct WindowLevel {
  WindowedGrid grid;
  std::vector<GridBox> owned;                      // by rank: whole windows x samples
  GridBox own;                                     // this rank's
  GridBox merged;                                  // this rank's before `descend`
  bool split_rows = false, split_columns = false;  // whether ranks share them
  // Where no axis is split, rolling and padding are left to the kernels, which need no copy for it.
  std::int64_t roll = 0;            // tokens by which what arrives for shifted windows is still to be rolled
  std::int64_t padding = 0;         // tokens by which what arrives with a halo is still to be padded
  std::vector<WindowPart> plain;    // all own windows without a shift: one part
  std::vector<WindowPart> shifted;  // the own windows; what needs no token of other ranks comes first, the rest may be on its way
  ExchangePlan halo;                // own tokens -> with those around them
  ExchangePlan pairs;               // own tokens -> whole cells of 2 x 2 tokens, for the level below
  ExchangePlan descend;             // the cells of the level above, each now one token -> own tokens
};

/// Grids, each with half the rows and columns of the one before (rounded up), whose windows are shared out. Level 0: every rank has all
/// samples of its windows. Below, where windows become fewer than ranks, ranks share windows and split their samples instead.
class WindowPyramid {
 public:
  /// Throws ConfigError if a rank would have no windows at level 0.
  WindowPyramid(const Domain& domain, std::vector<WindowedGrid> grids);

  const Domain& domain() const { return domain_; }
  const std::vector<WindowedGrid>& grids() const { return grids_; }
  /// This rank's tokens of level 0.
  Rectangle rectangle() const;
  /// All levels, for a batch of `samples` on each data rank.
  std::shared_ptr<const std::vector<WindowLevel>> levels(std::int64_t samples) const;

 private:
  struct Cache;
  Domain domain_;
  std::vector<WindowedGrid> grids_;
  std::shared_ptr<Cache> cache_;
};

}  // namespace trident
