/// Fourier modes of fields that the ranks of domain_y x domain_x share: each holds its rectangle of the last two dimensions of space, and
/// some modes of the last one.
///
/// Two ways, of which the one that sends less is taken; the choice depends on extents alone, so all ranks agree:
/// - pencil: rectangles -> whole rows; transform along x, of which only kept modes travel on: rows -> all rows of own modes; transform
/// along
///   the other dimensions. Sends sum over ranks of (rows - own rows) * own modes complex numbers a channel and sample, and, with several
///   ranks along x, what of the rows was elsewhere.
/// - partial sums: every rank's points give their part of all kept modes, which are added where they belong. Sends (ranks - 1) * kept
/// modes.
#pragma once

#include <cstdint>
#include <vector>

#include "parallel/domain.h"
#include "runtime/ops/fourier.h"

namespace trident {

enum class SpectralWay { partial_sums, pencil };

/// A transform of fields over all ranks.
struct SpectralExchange {
  Domain domain;
  std::vector<FourierAxis> axes;  // of the whole field, one for each dimension of space
  std::vector<Range> shares;      // by rank: consecutive modes of the last axis, counted from its first
  FieldNumbers numbers = FieldNumbers::real;

  /// The way that sends less for fields of `samples` (samples times channels).
  SpectralWay way(std::int64_t samples) const;
  /// Complex numbers that all ranks together send for it, one way.
  double numbers_sent(SpectralWay way, std::int64_t samples) const;

  /// x (batch, channel, space of this rank) -> (batch, channel, modes, own modes of the last axis), in memory in `order` if it can be had.
  Tensor to_modes(const Tensor& x, double scale, ModeOrder order) const;
  /// (batch, channel, modes, own modes) -> (batch, channel, space of this rank), with numbers of `real_type` if the field is real;
  /// plus bias, (channel, 1, ...) if there is one.
  Tensor to_field(const Tensor& modes, DType real_type, const Tensor& bias = {}) const;

 private:
  Rectangle own_rectangle() const;
  std::int64_t own_modes() const { return shares[static_cast<std::size_t>(domain.rank())].size(); }
  std::int64_t rows() const { return axes.size() == 1 ? 1 : axes[axes.size() - 2].period; }
  /// Whole rows, those of a strip shared out among its ranks.
  Range pencil_rows(int rank) const;
  ExchangePlan to_rows(std::int64_t samples) const;
  ExchangePlan to_columns(std::int64_t samples) const;
  std::vector<FourierAxis> local_axes() const;
  std::vector<FourierAxis> last_axis_only() const;
  std::vector<FourierAxis> other_axes() const;
};

}  // namespace trident
