#include "parallel/domain.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "runtime/error.h"

namespace trident {
namespace {

/// How many neighbouring ranks per axis own one rectangle together and split its samples.
struct Sharing {
  int y = 1, x = 1;
};

/// A box without sites has no samples; its rows and columns stay, because tensors keep their extents.
GridBox normalised(const GridBox& box) { return box.sites() > 0 ? box : GridBox{{0, 0}, box.rows, box.columns}; }

/// Whole windows of one axis as tokens.
Range tokens_of(const Range& windows, std::int64_t window, std::int64_t extent) {
  return {std::min(windows.first * window, extent), std::min(windows.last * window, extent)};
}

std::int64_t largest_part(std::int64_t n, std::int64_t parts) { return (n + parts - 1) / parts; }

/// Balances the busiest rank. Of equals it shares as many samples as it can: shifts and halos move nothing where no axis is split.
Sharing best_sharing(const WindowedGrid& grid, std::int64_t samples, int ranks_y, int ranks_x) {
  Sharing best;
  auto best_rank = std::tuple(std::int64_t{-1}, 0, 0);
  for (int y = 1; y <= ranks_y; ++y) {
    if (ranks_y % y != 0) continue;
    for (int x = 1; x <= ranks_x; ++x) {
      if (ranks_x % x != 0) continue;
      const std::int64_t load =
          largest_part(samples, y * x) * largest_part(grid.windows_y(), ranks_y / y) * largest_part(grid.windows_x(), ranks_x / x);
      const auto rank = std::tuple(load, -y * x, x);
      if (std::get<0>(best_rank) >= 0 && rank >= best_rank) continue;
      best_rank = rank;
      best = {y, x};
    }
  }
  return best;
}

/// The windows [first, last) of one axis as indices of tokens, rolled by `shift` on the padded grid.
Indices rolled(const Range& windows, const WindowedGrid& grid, std::int64_t padded, std::int64_t shift) {
  const std::int64_t first = windows.first * grid.window + shift, last = windows.last * grid.window + shift;
  if (last <= padded) return {{first, last}};
  if (first >= padded) return {{first - padded, last - padded}};
  return {{first, padded}, {0, last - padded}};
}

/// Windows of one rank, by axis.
struct Windows {
  Range rows, columns;
};

Windows windows_of(const GridBox& box, const WindowedGrid& grid) {
  const auto of = [&](const Range& tokens) {
    const std::int64_t first = tokens.first / grid.window;
    return Range{first, tokens.size() == 0 ? first : (tokens.last + grid.window - 1) / grid.window};
  };
  return {of(box.rows), of(box.columns)};
}

}  // namespace

struct Domain::Cache {
  std::mutex mutex;
  std::map<std::vector<std::int64_t>, ExchangePlan> plans;  // by all that is owned and wanted
};

Domain::Domain(const Mesh& mesh) : mesh_(mesh), cache_(std::make_shared<Cache>()) {}

Rectangle Domain::rectangle(std::int64_t ny, std::int64_t nx) const {
  return {part_of(ny, ranks_y(), mesh_.coordinate(Axis::domain_y)), part_of(nx, ranks_x(), mesh_.coordinate(Axis::domain_x))};
}

std::vector<GridBox> Domain::rectangles(std::int64_t samples, std::int64_t ny, std::int64_t nx) const {
  std::vector<GridBox> boxes;
  for (int rank = 0; rank < ranks(); ++rank) {
    boxes.push_back({{0, samples}, part_of(ny, ranks_y(), rank / ranks_x()), part_of(nx, ranks_x(), rank % ranks_x())});
  }
  return boxes;
}

std::vector<GridBox> Domain::planes(std::int64_t samples, std::int64_t ny, std::int64_t nx) const {
  std::vector<GridBox> boxes;
  // Ranks without planes keep the extents: fields of no samples are still resampled to ny x nx points.
  for (int rank = 0; rank < ranks(); ++rank) boxes.push_back({part_of(samples, ranks(), rank), {0, ny}, {0, nx}});
  return boxes;
}

ExchangePlan Domain::plan(const std::vector<GridBox>& owned, const std::vector<Sites>& wanted) const {
  std::vector<std::int64_t> key;
  const auto add = [&key](const Indices& list) {
    key.push_back(static_cast<std::int64_t>(list.size()));
    for (const Range& run : list) key.insert(key.end(), {run.first, run.last});
  };
  const auto add_all = [&add](const Sites& sites) { add(sites.samples), add(sites.rows), add(sites.columns); };
  for (const GridBox& box : owned) add_all(sites_of(box));
  for (const Sites& sites : wanted) add_all(sites);
  const std::lock_guard lock(cache_->mutex);
  const auto found = cache_->plans.find(key);
  if (found != cache_->plans.end()) return found->second;
  return cache_->plans.emplace(std::move(key), ExchangePlan(owned, wanted, rank())).first->second;
}

ExchangePlan Domain::plan(const std::vector<GridBox>& owned, const std::vector<GridBox>& wanted) const {
  std::vector<Sites> sites;
  for (const GridBox& box : wanted) sites.push_back(sites_of(box));
  return plan(owned, sites);
}

std::vector<Sites> with_halo(const std::vector<GridBox>& boxes, std::int64_t width) {
  const auto wider = [width](const Range& range) { return Range{range.first - width, range.last + width}; };
  std::vector<Sites> sites;
  for (const GridBox& box : boxes) {
    // What lies around nothing is nothing.
    sites.push_back({{box.sites() > 0 ? box.samples : Range{}}, {wider(box.rows)}, {wider(box.columns)}});
  }
  return sites;
}

namespace {

/// Builds the levels of one batch size, level by level.
class LevelBuilder {
 public:
  LevelBuilder(const Domain& domain, const std::vector<WindowedGrid>& grids, std::int64_t samples)
      : domain_(domain), grids_(grids), samples_(samples) {}

  std::vector<WindowLevel> build() const {
    std::vector<WindowLevel> levels;
    for (std::size_t i = 0; i < grids_.size(); ++i) {
      WindowLevel level = owned_level(i);
      const std::vector<GridBox> merged = i == 0 ? level.owned : halved(levels.back().owned);
      level.own = level.owned[rank()];
      level.merged = merged[rank()];
      level.descend = domain_.plan(merged, level.owned);
      if (i > 0) levels.back().pairs = domain_.plan(levels.back().owned, doubled(merged));
      add_windows(level);
      levels.push_back(std::move(level));
    }
    return levels;
  }

 private:
  std::size_t rank() const { return static_cast<std::size_t>(domain_.rank()); }

  WindowLevel owned_level(std::size_t index) const {
    WindowLevel level;
    const WindowedGrid& grid = level.grid = grids_[index];
    const int ranks_y = domain_.ranks_y(), ranks_x = domain_.ranks_x();
    const Sharing sharing = index == 0 ? Sharing{} : best_sharing(grid, samples_, ranks_y, ranks_x);
    level.split_rows = sharing.y < ranks_y;
    level.split_columns = sharing.x < ranks_x;
    for (int y = 0; y < ranks_y; ++y) {
      for (int x = 0; x < ranks_x; ++x) {
        const Range rows = part_of(grid.windows_y(), ranks_y / sharing.y, y / sharing.y);
        const Range columns = part_of(grid.windows_x(), ranks_x / sharing.x, x / sharing.x);
        level.owned.push_back(normalised({part_of(samples_, sharing.y * sharing.x, y % sharing.y * sharing.x + x % sharing.x),
                                          tokens_of(rows, grid.window, grid.rows), tokens_of(columns, grid.window, grid.columns)}));
      }
    }
    return level;
  }

  /// What each rank holds once four tokens are one: samples stay where they are.
  static std::vector<GridBox> halved(const std::vector<GridBox>& boxes) {
    const auto half = [](const Range& range) { return Range{(range.first + 1) / 2, (range.last + 1) / 2}; };
    std::vector<GridBox> result;
    for (const GridBox& box : boxes) result.push_back(normalised({box.samples, half(box.rows), half(box.columns)}));
    return result;
  }

  static std::vector<GridBox> doubled(const std::vector<GridBox>& boxes) {
    const auto twice = [](const Range& range) { return Range{2 * range.first, 2 * range.last}; };
    std::vector<GridBox> result;
    for (const GridBox& box : boxes) result.push_back({box.samples, twice(box.rows), twice(box.columns)});
    return result;
  }

  void add_windows(WindowLevel& level) const {
    const bool split = level.split_rows || level.split_columns;
    const auto all = [](const Windows& own) { return own; };
    add_part(level, level.plain, 0, all);
    level.roll = split ? 0 : level.grid.shift;
    level.padding = split ? 0 : level.grid.halo;
    level.halo = domain_.plan(level.owned, with_halo(level.owned, split ? level.grid.halo : 0));
    if (level.grid.shift == 0) return;
    if (!split) return add_part(level, level.shifted, 0, all);
    // The last row and the last column of a rank's rolled windows hold tokens of the next ranks.
    const bool rows = level.split_rows, columns = level.split_columns;
    const auto but_last = [](const Range& range, bool split) {
      return Range{range.first, std::max(range.first, range.last - (split ? 1 : 0))};
    };
    const auto inner = [=](const Windows& own) { return Windows{but_last(own.rows, rows), but_last(own.columns, columns)}; };
    add_part(level, level.shifted, level.grid.shift, inner);
    if (rows) {
      add_part(level, level.shifted, level.grid.shift, [=](const Windows& own) {
        return Windows{{inner(own).rows.last, own.rows.last}, own.columns};
      });
    }
    if (columns) {
      add_part(level, level.shifted, level.grid.shift, [=](const Windows& own) {
        return Windows{inner(own).rows, {inner(own).columns.last, own.columns.last}};
      });
    }
  }

  /// Adds the part of the own windows that `choose` takes, unless no rank has any.
  template <class Choose>
  void add_part(const WindowLevel& level, std::vector<WindowPart>& parts, std::int64_t shift, Choose choose) const {
    const WindowedGrid& grid = level.grid;
    std::vector<Sites> wanted;
    bool any = false;
    for (const GridBox& box : level.owned) {
      const Windows chosen = choose(windows_of(box, grid));
      wanted.push_back({{box.samples},
                        rolled(chosen.rows, grid, grid.windows_y() * grid.window, shift),
                        rolled(chosen.columns, grid, grid.windows_x() * grid.window, shift)});
      any = any || chosen.rows.size() * chosen.columns.size() > 0;
    }
    if (!any) return;
    const Windows own = choose(windows_of(level.own, grid));
    parts.push_back({domain_.plan(level.owned, wanted), own.rows.first * grid.window, own.columns.first * grid.window});
  }

  const Domain& domain_;
  const std::vector<WindowedGrid>& grids_;
  std::int64_t samples_;
};

}  // namespace

struct WindowPyramid::Cache {
  std::mutex mutex;
  std::map<std::int64_t, std::shared_ptr<const std::vector<WindowLevel>>> levels;  // by samples
};

WindowPyramid::WindowPyramid(const Domain& domain, std::vector<WindowedGrid> grids)
    : domain_(domain), grids_(std::move(grids)), cache_(std::make_shared<Cache>()) {
  const auto require = [](Axis axis, int ranks, std::int64_t windows, std::int64_t tokens) {
    if (ranks <= windows) return;
    throw ConfigError(concat("parallel.", name_of(axis), ": ", ranks, " ranks cannot share ", windows, " windows (", tokens,
                             " tokens of the model's top level); choose at most ", windows));
  };
  require(Axis::domain_y, domain.ranks_y(), grids_.front().windows_y(), grids_.front().rows);
  require(Axis::domain_x, domain.ranks_x(), grids_.front().windows_x(), grids_.front().columns);
}

Rectangle WindowPyramid::rectangle() const {
  const WindowedGrid& grid = grids_.front();
  const Rectangle windows = domain_.rectangle(grid.windows_y(), grid.windows_x());
  return {tokens_of(windows.rows, grid.window, grid.rows), tokens_of(windows.columns, grid.window, grid.columns)};
}

std::shared_ptr<const std::vector<WindowLevel>> WindowPyramid::levels(std::int64_t samples) const {
  const std::lock_guard lock(cache_->mutex);
  auto& levels = cache_->levels[samples];
  if (!levels) levels = std::make_shared<const std::vector<WindowLevel>>(LevelBuilder(domain_, grids_, samples).build());
  return levels;
}

}  // namespace trident
