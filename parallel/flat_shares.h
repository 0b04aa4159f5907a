/// How the ranks that hold the same parameters share out the flat buffers: in buckets, which travel one at a time, and inside of a bucket
/// by rank, for optimisers of which each rank keeps a share.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "parallel/mesh.h"
#include "parallel/parameter.h"

namespace trident {

/// What a rank updates: all that it holds, or its share of what other ranks hold as well (ZeRO-1).
enum class Sharding { none, over_replicas };

/// Consecutive trained entries that ranks of the same axes hold alike. Offsets count the numbers of the flat buffers.
struct FlatBucket {
  AxisSet axes;
  std::size_t first_entry = 0, last_entry = 0;  // [first, last) of ParameterList::entries()
  std::vector<std::int64_t> cuts;               // [cuts[r], cuts[r + 1]) is the share of rank r of the axes

  std::int64_t begin() const { return cuts.front(); }
  std::int64_t end() const { return cuts.back(); }
  std::vector<std::int64_t> counts() const;  // by rank
};

class FlatShares {
 public:
  /// Buckets are cut by the even share of an entry, so that ranks with uneven parts cut alike; what prepare() reads, final last of all, has
  /// buckets of its own. Small by default: MPI moves 1 MB at a time fastest, and exchanges of the model queue behind them. Shares are even
  /// up to rows of a tensor, so that each is a box of it.
  FlatShares(const ParameterList& parameters, const Mesh& mesh, Sharding sharding = Sharding::none,
             std::int64_t bucket_bytes = std::int64_t{1} << 20);

  const Mesh& mesh() const { return mesh_; }
  Sharding sharding() const { return sharding_; }
  const std::vector<FlatBucket>& buckets() const { return buckets_; }  // ascending; together all that is trained
  /// Whether the bucket's ranks have shares of their own.
  bool is_shared_out(const FlatBucket& bucket) const { return sharding_ == Sharding::over_replicas && mesh_.size(bucket.axes) > 1; }
  /// What this rank updates of a bucket.
  Range own(const FlatBucket& bucket) const;
  /// The part of a trained piece that this rank updates: box, offset and size; empty if it is another's.
  NamedPiece own_part(const NamedPiece& piece) const;

 private:
  Mesh mesh_;
  Sharding sharding_;
  std::vector<FlatBucket> buckets_;
};

}  // namespace trident
