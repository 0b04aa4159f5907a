#include "parallel/parameter.h"

#include <fnmatch.h>

#include <algorithm>
#include <set>
#include <tuple>
#include <utility>

#include "runtime/autograd/tape.h"
#include "runtime/error.h"
#include "runtime/kernels/wide.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"

namespace trident {
namespace {

constexpr std::int64_t kAlignment = 64;  // bytes: a cache line, so that no two entries share one

std::string full_name(const std::string& path, const std::string& name) {
  if (path.empty() || name.empty()) return path + name;
  return path + "." + name;
}

std::int64_t owned_size(const Piece& piece) {
  std::int64_t size = 1;
  for (const Range& range : piece.owned) size *= range.size();
  return size;
}

void require_fitting(const std::string& path, const Parameter& parameter) {
  std::int64_t end = 0;
  for (const Piece& piece : parameter.pieces) {
    const std::string name = full_name(path, piece.name);
    if (piece.numbers != parameter.pieces.front().numbers) {
      throw ShapeError(concat("parameter \"", name, "\": real and complex pieces do not share a physical tensor"));
    }
    if (static_cast<int>(piece.owned.size()) != piece.full_shape.rank()) {
      throw ShapeError(concat("parameter \"", name, "\": ", piece.owned.size(), " owned ranges for shape ", to_string(piece.full_shape)));
    }
    for (std::size_t dim = 0; dim < piece.owned.size(); ++dim) {
      const Range& range = piece.owned[dim];
      if (range.first < 0 || range.last < range.first || range.last > piece.full_shape[static_cast<int>(dim)]) {
        throw ShapeError(concat("parameter \"", name, "\": owns [", range.first, ", ", range.last, ") of dimension ", dim, " of shape ",
                                to_string(piece.full_shape)));
      }
    }
    if (piece.offset < end || piece.offset + owned_size(piece) > numel(parameter.shape)) {
      throw ShapeError(concat("parameter \"", name, "\": its elements [", piece.offset, ", ", piece.offset + owned_size(piece),
                              ") overlap another piece or leave the physical tensor ", to_string(parameter.shape)));
    }
    end = piece.offset + owned_size(piece);
  }
}

/// Numbers of a flat buffer [offset, offset + size) as elements (elements,).
Tensor elements(const Tensor& flat, std::int64_t offset, std::int64_t size, Numbers numbers) {
  const Tensor part = view::slice(flat, 0, offset, offset + size);
  return numbers == Numbers::real ? part : view::as_complex(view::reshape(part, {size / 2, 2}));
}

/// Sorts every run of neighbours that have a place.
template <class Element, class PlaceOf>
void put_in_place(std::vector<Element>& elements, const PlaceOf& place_of) {
  auto first = elements.begin();
  while (first != elements.end()) {
    const auto end = std::find_if(first, elements.end(), [&](const Element& element) { return place_of(element) == 0; });
    std::stable_sort(first, end, [&](const Element& a, const Element& b) { return place_of(a) < place_of(b); });
    first = end == elements.end() ? end : end + 1;
  }
}

}  // namespace

Parameter whole_parameter(const Shape& shape, Init init, Numbers numbers) {
  Piece piece{.name = "", .full_shape = shape, .owned = {}, .offset = 0, .init = init, .numbers = numbers};
  for (const std::int64_t extent : shape) piece.owned.push_back({0, extent});
  return Parameter{.shape = shape, .pieces = {piece}, .replicated = AxisSet::all(), .prepared = false, .value = {}};
}

Tensor NamedPiece::in(const Tensor& flat) const { return elements(flat, offset, size, piece.numbers); }

void ParameterList::zero_gradients() const {
  start_gradients();
  complete_gradients();
}

void ParameterList::start_gradients() const {
  for (const Entry& entry : entries_) {
    if (entry.value.node()) entry.value.node()->blank = true;
  }
}

void ParameterList::complete_gradients() const {
  for (const Entry& entry : entries_) {
    if (entry.value.node()) complete_gradient(*entry.value.node());
  }
}

void ParameterList::round_values() const {
  if (rounded_.defined()) copy_into(rounded_, values_);
}

/// Collects what a visit reaches, orders it, and lays it out.
class Materializer {
 public:
  Materializer(const Visit& visit, DType dtype, Device device) : dtype_(wide(dtype)), rounds_(dtype == DType::bf16), device_(device) {
    if (dtype_ != DType::f32 && dtype_ != DType::f64) {
      throw ConfigError(concat("parameters: kept in f32 or f64, not in ", name_of(dtype), "; choose training.precision accordingly"));
    }
    if (rounds_ && device.kind == Device::Kind::cpu) {
      throw ConfigError("parameters: bf16 is computed on CUDA devices alone; choose training.precision f32 or f64, or another device");
    }
    ParameterVisitor visitor;
    visitor.parameter = [this](const std::string& path, Parameter& parameter) { collect(path, parameter); };
    visitor.buffer = [this](const std::string& path, Buffer& buffer) { collect(path, buffer); };
    visit(visitor);
  }

  void freeze(const std::vector<std::string>& patterns) {
    for (const std::string& pattern : patterns) {
      bool any = false;
      for (Found& found : found_) {
        for (NamedPiece& piece : found.entry.pieces) {
          if (fnmatch(pattern.c_str(), piece.name.c_str(), 0) != 0) continue;
          piece.trainable = false;
          any = true;
        }
      }
      if (!any) throw ConfigError(concat("training.freeze: no parameter is called \"", pattern, "\"; `trident inspect` lists the names"));
    }
    for (Found& found : found_) {
      const auto& pieces = found.entry.pieces;
      found.entry.trainable = std::any_of(pieces.begin(), pieces.end(), [](const NamedPiece& piece) { return piece.trainable; });
    }
  }

  ParameterList lay_out(Use use) {
    std::vector<Found*> order = sorted();
    const std::int64_t step = kAlignment / static_cast<std::int64_t>(size_of(dtype_));
    std::int64_t size = 0, trained = 0;
    for (Found* found : order) {
      found->entry.offset = size;
      size += (found->entry.size + step - 1) / step * step;
      if (found->entry.trainable) trained = size;
    }
    list_.values_ = zeros({size}, dtype_, device_);
    if (use == Use::training) list_.gradients_ = zeros({trained}, dtype_, device_);
    if (rounds_) list_.rounded_ = zeros({size}, DType::bf16, device_);
    for (Found& found : found_) place(found);
    for (const Found& found : found_) list_.pieces_.insert(list_.pieces_.end(), found.entry.pieces.begin(), found.entry.pieces.end());
    put_in_place(list_.pieces_, [](const NamedPiece& piece) { return piece.piece.place; });
    for (Found* found : order) list_.entries_.push_back(std::move(found->entry));
    return std::move(list_);
  }

 private:
  struct Found {
    Parameter* parameter;
    ParameterList::Entry entry;
  };

  void collect(const std::string& path, Parameter& parameter) {
    require_fitting(path, parameter);
    ParameterList::Entry entry;
    entry.name = path;
    entry.shape = parameter.shape;
    entry.numbers = parameter.pieces.empty() ? Numbers::real : parameter.pieces.front().numbers;
    entry.size = reals_in(entry.shape, entry.numbers);
    entry.replicated = parameter.replicated;
    entry.prepared = parameter.prepared;
    for (const Piece& piece : parameter.pieces) {
      NamedPiece named;
      named.name = full_name(path, piece.name);
      named.piece = piece;
      named.replicated = parameter.replicated;
      require_new(named.name);
      entry.pieces.push_back(std::move(named));
    }
    found_.push_back({&parameter, std::move(entry)});
  }

  void collect(const std::string& path, Buffer& buffer) {
    require_new(path);
    buffer.value = empty(buffer.shape, buffer.dtype == DType::i64 ? buffer.dtype : dtype_, device_);
    copy_into(buffer.value, full(buffer.shape, buffer.initial, DType::f64));
    list_.buffers_.push_back({path, buffer.value});
  }

  void require_new(const std::string& name) {
    if (!names_.insert(name).second) throw Error(concat("parameter \"", name, "\": the model lists this name twice"));
  }

  std::vector<Found*> sorted() {
    std::vector<Found*> order;
    for (Found& found : found_) order.push_back(&found);
    std::stable_sort(order.begin(), order.end(), [](const Found* a, const Found* b) {
      const auto rank = [](const ParameterList::Entry& entry) {
        return std::tuple(!entry.trainable, entry.replicated.bits(), !entry.prepared);
      };
      return rank(a->entry) < rank(b->entry);
    });
    return order;
  }

  void place(Found& found) const {
    ParameterList::Entry& entry = found.entry;
    const bool trained = entry.trainable && list_.gradients_.defined();
    const auto window = [&](const Tensor& flat) {
      return view::reshape(elements(flat, entry.offset, entry.size, entry.numbers), entry.shape);
    };
    entry.value = window(list_.values_);
    if (trained) entry.value = leaf(entry.value, window(list_.gradients_));
    found.parameter->value = entry.value;
    if (rounds_ && entry.numbers == Numbers::real) found.parameter->rounded = window(list_.rounded_).with_node(entry.value.node());
    for (NamedPiece& piece : entry.pieces) {
      piece.offset = entry.offset + reals_in({piece.piece.offset}, entry.numbers);
      piece.size = reals_in({owned_size(piece.piece)}, entry.numbers);
      piece.value = piece.in(list_.values_);
      if (trained && piece.trainable) piece.gradient = piece.in(list_.gradients_);
    }
  }

  DType dtype_;
  bool rounds_;
  Device device_;
  std::vector<Found> found_;
  std::set<std::string> names_;
  ParameterList list_;
};

ParameterList materialize(const Visit& visit, DType dtype, Use use, std::optional<RandomKey> key, const std::vector<std::string>& frozen,
                          Device device) {
  Materializer materializer(visit, dtype, device);
  materializer.freeze(frozen);
  ParameterList parameters = materializer.lay_out(use);
  if (key) {
    for (const NamedPiece& piece : parameters.pieces()) initialize(piece, *key);
    parameters.round_values();
  }
  return parameters;
}

std::vector<Described> describe(const Visit& visit) {
  std::vector<std::pair<std::string, Piece>> pieces;
  std::vector<Described> all, buffers;
  ParameterVisitor visitor;
  visitor.parameter = [&](const std::string& path, Parameter& parameter) {
    for (const Piece& piece : parameter.pieces) pieces.emplace_back(full_name(path, piece.name), piece);
  };
  visitor.buffer = [&](const std::string& path, Buffer& buffer) { buffers.push_back({path, buffer.shape}); };
  visit(visitor);
  put_in_place(pieces, [](const auto& named) { return named.second.place; });
  for (const auto& [name, piece] : pieces) all.push_back({name, piece.full_shape, piece.numbers});
  all.insert(all.end(), buffers.begin(), buffers.end());
  return all;
}

}  // namespace trident
