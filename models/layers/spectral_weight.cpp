#include "models/layers/spectral_weight.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "runtime/error.h"
#include "runtime/ops/contraction_order.h"
#include "runtime/ops/shape.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

double product(const Shape& shape) {
  double size = 1.0;
  for (const std::int64_t extent : shape) size *= static_cast<double>(extent);
  return size;
}

std::int64_t rounded(double x) { return static_cast<std::int64_t>(std::nearbyint(x)); }  // half to even, as numpy
std::int64_t at_least_one(double x) { return std::max<std::int64_t>(rounded(x), 1); }

/// The fraction c of every extent with which core and factors have a share `rank` of the tensor's parameters:
/// P c^N + (sum of squares) c = rank P, P and N without a fixed mode; by bisection on an increasing function.
std::vector<std::int64_t> tucker_ranks(const Shape& shape, double rank, FirstRank first) {
  const int begin = first == FirstRank::fixed ? 1 : 0, modes = shape.rank() - begin;
  const double total = product(shape);
  double squares = 0.0, constant = 0.0;
  for (int dim = 0; dim < shape.rank(); ++dim) {
    const double square = static_cast<double>(shape[dim]) * static_cast<double>(shape[dim]);
    (dim < begin ? constant : squares) += square;
  }
  const auto excess = [&](double c) { return total * std::pow(c, modes) + squares * c + constant * c - rank * total; };
  double low = 0.0, high = std::max(rank, 1.0);
  for (int halving = 0; halving < 200; ++halving) {
    const double middle = 0.5 * (low + high);
    (excess(middle) > 0.0 ? high : low) = middle;
  }
  std::vector<std::int64_t> ranks;
  for (int dim = 0; dim < shape.rank(); ++dim) {
    ranks.push_back(dim < begin ? shape[dim] : at_least_one(static_cast<double>(shape[dim]) * low));
  }
  return ranks;
}

std::vector<std::int64_t> cp_ranks(const Shape& shape, double rank) {
  double sum = 0.0;
  for (const std::int64_t extent : shape) sum += static_cast<double>(extent);
  return {at_least_one(product(shape) * rank / sum)};
}

/// Ranks c d_k between neighbours, d_k the mean of their extents: a c^2 + b c = rank P. A matrix has no dimension between others; a is then
/// what tensorly takes, which leaves it fewer parameters than asked for.
std::vector<std::int64_t> tt_ranks(const Shape& shape, double rank) {
  const int last = shape.rank() - 1;
  const auto extent = [&](int dim) { return static_cast<double>(shape[dim]); };
  std::vector<double> between;
  for (int dim = 0; dim < last; ++dim) between.push_back((extent(dim) + extent(dim + 1)) / 2.0);
  const auto width = [&](int dim) { return between[static_cast<std::size_t>(dim)]; };
  double a = last == 1 ? width(0) * width(0) * extent(0) : 0.0;
  for (int dim = 1; dim < last; ++dim) a += width(dim - 1) * extent(dim) * width(dim);
  const double b = extent(0) * width(0) + extent(last) * width(last - 1), wanted = rank * product(shape);
  const double c = (-b + std::sqrt(b * b + 4.0 * a * wanted)) / (2.0 * a);
  std::vector<std::int64_t> ranks{1};
  for (const double d : between) ranks.push_back(at_least_one(d * c));
  ranks.push_back(1);
  return ranks;
}

/// How many ranks a factorisation has.
std::size_t num_ranks(const Shape& shape, Factorization factorization) {
  const auto dims = static_cast<std::size_t>(shape.rank());
  return factorization == Factorization::tucker ? dims : factorization == Factorization::tt ? dims + 1 : 1;
}

std::vector<std::int64_t> listed(const Shape& shape, Factorization factorization, const std::vector<std::int64_t>& ranks) {
  bool fits = ranks.size() == num_ranks(shape, factorization) && std::ranges::all_of(ranks, [](std::int64_t rank) { return rank >= 1; });
  if (factorization == Factorization::tt) fits = fits && ranks.front() == 1 && ranks.back() == 1;
  if (!fits) {
    throw ConfigError(concat("model.rank: ", to_string(Shape(ranks)), " does not fit a weight ", to_string(shape),
                             "; tucker takes one rank a mode, tt ", shape.rank() + 1, " with 1 at both ends, cp one, all at least 1"));
  }
  return ranks;
}

std::vector<std::int64_t> uniform(const Shape& shape, Factorization factorization, std::int64_t rank, FirstRank first) {
  std::vector<std::int64_t> ranks(num_ranks(shape, factorization), rank);
  if (factorization == Factorization::tt) ranks.front() = ranks.back() = 1;
  if (factorization == Factorization::tucker && first == FirstRank::fixed) ranks.front() = shape[0];
  return listed(shape, factorization, ranks);
}

}  // namespace

std::vector<std::int64_t> choose_ranks(const Shape& shape, Factorization factorization, const RankChoice& rank, FirstRank first) {
  if (factorization == Factorization::dense) return {};
  if (shape.rank() < 2) throw ConfigError(concat("spectral weight ", to_string(shape), ": a factorisation needs two dimensions"));
  if (const auto* ranks = std::get_if<std::vector<std::int64_t>>(&rank)) return listed(shape, factorization, *ranks);
  if (const auto* same = std::get_if<std::int64_t>(&rank)) return uniform(shape, factorization, *same, first);
  const double share = std::get<double>(rank);
  if (!(share > 0.0) || !std::isfinite(share))
    throw ConfigError(concat("model.rank: got ", share, "; it is a share of the parameters above 0, or whole ranks"));
  if (factorization == Factorization::tucker) return tucker_ranks(shape, share, first);
  return factorization == Factorization::cp ? cp_ranks(shape, share) : tt_ranks(shape, share);
}

namespace {

/// The deviation of each factor's entries with which the reference starts; the product of factors has about `deviation` (tt: less).
double factor_deviation(const SpectralWeight::Description& description, const std::vector<std::int64_t>& ranks) {
  const double modes = description.shape.rank();
  double size = 1.0;
  for (const std::int64_t rank : ranks) size *= static_cast<double>(rank);
  switch (description.factorization) {
    case Factorization::tucker:
      return std::pow(description.deviation / std::sqrt(size), 1.0 / (modes + 1.0));
    case Factorization::cp:
      return std::pow(description.deviation / std::sqrt(size), 1.0 / modes);
    case Factorization::tt:
      return std::pow(description.deviation / size, 1.0 / modes);
    case Factorization::dense:
      break;
  }
  return description.deviation;
}

constexpr const char* kModeLabels = "uvwxyz";  // of the dimensions of space

/// Which dimensions the parts have: those of the weight, `labels`, and ranks, which are capital letters.
std::vector<std::string> labels_of_parts(Factorization factorization, const std::string& labels) {
  const auto rank = [](std::size_t dim) { return static_cast<char>('A' + dim); };
  std::vector<std::string> parts;
  if (factorization == Factorization::dense) return {labels};
  if (factorization == Factorization::cp) parts.emplace_back(1, rank(0));
  if (factorization == Factorization::tucker) {
    std::string& core = parts.emplace_back();
    for (std::size_t dim = 0; dim < labels.size(); ++dim) core += rank(dim);
  }
  for (std::size_t dim = 0; dim < labels.size(); ++dim) {
    std::string& factor = parts.emplace_back();
    if (factorization == Factorization::tt && dim > 0) factor += rank(dim);
    factor += labels[dim];
    if (factorization == Factorization::tucker) factor += rank(dim);
    if (factorization == Factorization::cp) factor += rank(0);
    if (factorization == Factorization::tt && dim + 1 < labels.size()) factor += rank(dim + 1);
  }
  return parts;
}

/// Of fields and of results.
std::string labels_of_field(bool is_result, Channels channels, const std::string& modes) {
  return (is_result && channels == Channels::mixed ? "bo" : "bi") + modes;
}

std::string labels_of_weight(Channels channels, const std::string& modes) { return (channels == Channels::mixed ? "io" : "i") + modes; }

/// Tucker's core with the modes' ranks before those of the channels, which lie side by side: they come last in most products.
Operand core_by_modes(const Tensor& core, int channels) {
  Shape order;
  std::string labels;
  const auto take = [&](int begin, int end) {
    for (int dim = begin; dim < end; ++dim) order.push_back(dim), labels += static_cast<char>('A' + dim);
  };
  take(channels, core.rank());
  take(0, channels);
  return {contiguous(permute(core, order)), labels};
}

}  // namespace

SpectralWeight::SpectralWeight(const Description& description, const Mesh& mesh) : description_(description), mesh_(mesh) {
  const Shape& shape = description.shape;
  for (const std::int64_t extent : shape) owned_.push_back({0, extent});
  owned_.front() = part_of(shape[0], mesh.size(Axis::tensor), mesh.coordinate(Axis::tensor));
  const int domain_rank = mesh.coordinate(Axis::domain_y) * mesh.size(Axis::domain_x) + mesh.coordinate(Axis::domain_x);
  owned_.back() = part_of(shape[shape.rank() - 1], mesh.size(Axis::domain_y | Axis::domain_x), domain_rank);
  const std::vector<std::int64_t> ranks = choose_ranks(shape, description.factorization, description.rank, description.first_rank);
  const Init init = Init::normal(factor_deviation(description, ranks));
  const auto factor = [](int dim) { return concat("factors.factor_", dim); };
  const auto rank_at = [&](int dim) { return ranks[static_cast<std::size_t>(dim)]; };
  switch (description.factorization) {
    case Factorization::dense:
      add_dense(init);
      return;
    case Factorization::tucker:
      add("core", Shape(ranks), init);
      for (int dim = 0; dim < shape.rank(); ++dim) add(factor(dim), {shape[dim], rank_at(dim)}, init, 0, dim);
      return;
    case Factorization::cp:
      add("weights", {ranks[0]}, Init::constant(1.0));
      for (int dim = 0; dim < shape.rank(); ++dim) add(factor(dim), {shape[dim], ranks[0]}, init, 0, dim);
      return;
    case Factorization::tt:
      for (int dim = 0; dim < shape.rank(); ++dim) add(factor(dim), {rank_at(dim), shape[dim], rank_at(dim + 1)}, init, 1, dim);
      return;
  }
}

void SpectralWeight::add(const std::string& name, const Shape& shape, Init init, int dim_of_part, int dim) {
  Parameter parameter = whole_parameter(shape, init, Numbers::complex);
  if (dim == 0 || dim + 1 == description_.shape.rank()) {
    const Range& own = owned_[static_cast<std::size_t>(dim)];
    parameter.shape[dim_of_part] = own.size();
    parameter.pieces.front().owned[static_cast<std::size_t>(dim_of_part)] = own;
    parameter.replicated = AxisSet::all().without(dim == 0 ? AxisSet(Axis::tensor) : Axis::domain_y | Axis::domain_x);
  }
  parts_.push_back({name, parameter});
}

void SpectralWeight::add_dense(Init init) {
  Parameter parameter = whole_parameter(description_.shape, init, Numbers::complex);
  for (std::size_t dim = 0; dim < owned_.size(); ++dim) parameter.shape[static_cast<int>(dim)] = owned_[dim].size();
  parameter.pieces.front().owned = owned_;
  parameter.replicated = AxisSet(Axis::data);
  parts_.push_back({"tensor", parameter});
}

std::vector<Range> SpectralWeight::shares(const Range& kept) const {
  const int ranks = mesh_.size(Axis::domain_y | Axis::domain_x), last = description_.shape.rank() - 1;
  std::vector<Range> shares;
  for (int rank = 0; rank < ranks; ++rank) {
    const Range held = part_of(description_.shape[last], ranks, rank);
    const std::int64_t first = std::clamp(held.first, kept.first, kept.last), end = std::clamp(held.last, kept.first, kept.last);
    shares.push_back({first, end});
  }
  return shares;
}

/// Tucker's channel factors are matrices that x's channels pass through one after the other; a dense weight has its modes last itself.
ModeOrder SpectralWeight::order() const {
  const bool factors = description_.factorization == Factorization::tucker && description_.contraction == Contraction::factorized;
  return factors && description_.channels == Channels::mixed ? ModeOrder::first : ModeOrder::last;
}

/// Core or weights, and factors, as tensors of labelled dimensions; `labels`: of the weight's dimensions.
std::vector<Operand> SpectralWeight::operands(const std::string& labels, const std::vector<Range>& kept) const {
  const int channels = description_.shape.rank() - static_cast<int>(kept.size());
  const auto cropped = [&](Tensor x, int dim_of_x, int dim) {  // a dimension of the weight that x has, if it is one of modes
    if (dim < channels) return x;
    const Range &wanted = kept[static_cast<std::size_t>(dim - channels)], &own = owned_[static_cast<std::size_t>(dim)];
    if (wanted.size() == description_.shape[dim]) return x;  // so on every rank: their tapes agree
    const std::int64_t first = std::clamp(wanted.first, own.first, own.last), end = std::clamp(wanted.last, own.first, own.last);
    return slice(x, dim_of_x, first - own.first, end - own.first);
  };
  const std::vector<std::string> of_parts = labels_of_parts(description_.factorization, labels);
  const auto value = [&](std::size_t part) { return parts_[part].parameter.value; };
  const int dims = description_.shape.rank();
  std::vector<Operand> result;
  if (description_.factorization == Factorization::dense) {
    Tensor tensor = value(0);
    for (int dim = 0; dim < dims; ++dim) tensor = cropped(tensor, dim, dim);
    return {{tensor, labels}};
  }
  if (description_.factorization == Factorization::tucker) result.push_back(core_by_modes(value(0), channels));
  if (description_.factorization == Factorization::cp) result.push_back({value(0), of_parts[0]});
  const bool is_train = description_.factorization == Factorization::tt;  // whose first and last rank, both 1, are no dimensions here
  for (int dim = 0; dim < dims; ++dim) {
    const std::size_t part = result.size();
    Tensor factor = cropped(value(part), is_train ? 1 : 0, dim);
    if (is_train && dim == 0) factor = reshape(factor, {factor.size(1), factor.size(2)});
    if (is_train && dim + 1 == dims) factor = reshape(factor, {factor.size(0), factor.size(1)});
    result.push_back({factor, of_parts[part]});
  }
  return result;
}

Tensor SpectralWeight::operator()(const Tensor& x, const std::vector<Range>& kept) const {
  const std::string modes(kModeLabels, kept.size()), labels = labels_of_weight(description_.channels, modes);
  std::vector<Operand> all = operands(labels, kept);
  if (all.size() > 1 && description_.contraction == Contraction::reconstructed) all = {{contract(all, labels), labels}};
  all.insert(all.begin(), Operand{x, labels_of_field(false, description_.channels, modes)});
  return contract(all, labels_of_field(true, description_.channels, modes));
}

double SpectralWeight::flops(std::int64_t batch, const std::vector<std::int64_t>& kept) const {
  const std::string modes(kModeLabels, kept.size()), labels = labels_of_weight(description_.channels, modes);
  const std::vector<std::int64_t> ranks =
      choose_ranks(description_.shape, description_.factorization, description_.rank, description_.first_rank);
  const auto counted = [&](const std::string& dimensions) {
    Shape shape;
    for (const char label : dimensions) {
      const std::size_t mode = modes.find(label), dim = labels.find(label);
      shape.push_back(label == 'b'                ? batch
                      : mode != std::string::npos ? kept[mode]
                      : dim != std::string::npos  ? description_.shape[static_cast<int>(dim)]
                                                  : ranks[static_cast<std::size_t>(label - 'A')]);
    }
    return Operand{empty(shape, DType::c64, Device{.counted = true}), dimensions};
  };
  std::vector<Operand> all;
  for (const std::string& part : labels_of_parts(description_.factorization, labels)) all.push_back(counted(part));
  double products = 0.0;
  if (all.size() > 1 && description_.contraction == Contraction::reconstructed) {
    products = ContractionOrder(all, labels).multiplications();
    all = {counted(labels)};
  }
  all.insert(all.begin(), counted(labels_of_field(false, description_.channels, modes)));
  products += ContractionOrder(all, labels_of_field(true, description_.channels, modes)).multiplications();
  return 8.0 * products;  // a complex multiplication and addition
}

}  // namespace trident
