// Blocks of channels and points are copied into strips (channel_strips.h), with memory asked for some channels ahead, on the way through
// what comes before the product; each tile of the product meets what comes behind it while it lies in the first cache. A block goes through
// all maps of a chain before the next one does.
#include "runtime/kernels/channel_mix.h"

#include "runtime/kernels/channel_fields.h"

namespace trident {
namespace {

using cpu::Addend;
using cpu::Blocks;
using cpu::Columns;
using cpu::Field;
using cpu::kLanes;
using cpu::kStrip;
using cpu::numbers;
using cpu::PackedWeight;
using cpu::Result;
using cpu::round_up;
using cpu::Rows;
using cpu::Run;
using cpu::Source;
using cpu::Storing;
using cpu::StripMemory;
using cpu::Strips;
using cpu::Taken;
using cpu::Tiled;
using cpu::Vector;

constexpr std::int64_t kWorthThreads = 1 << 18;       // multiplications
constexpr std::int64_t kWorthThreadsToAdd = 1 << 15;  // numbers of sums of shares

template <class T>
bool worth_threads(const MixChain<T>& chain) {
  std::int64_t multiplications = 0;
  for (const MixMap<T>& map : chain.maps) multiplications += map.size.batch * map.size.points * map.size.in * map.size.out;
  return multiplications > kWorthThreads;
}

/// What a map is given, and what it gives.
Field field_in(const MixSize& size) { return {size.batch, size.in, size.points}; }
Field field_out(const MixSize& size) { return {size.batch, size.out, size.points}; }

/// What is kept of a GELU for the backward: its slope, or what it was given.
enum class Second { slope, given };

/// The GELU of a tile's sums; and what is kept of it, unless `second` is null.
template <class T, Second kSecond>
void gelu_of_tile(std::int64_t rows, std::int64_t vectors, const T* sums, Rows<T> y, Storing y_storing, Rows<T> second,
                  Storing second_storing) {
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t column = 0; column < vectors * kLanes<T>; column += kLanes<T>) {
      const Vector<T> x = cpu::load(sums + row * kStrip<T> + column);
      const cpu::GeluAndSlope<T> result = cpu::gelu_and_slope(x);
      cpu::put<T>(y.data + row * y.step + column, result.value, y_storing);
      if (second.data != nullptr)
        cpu::put<T>(second.data + row * second.step + column, kSecond == Second::slope ? result.slope : x, second_storing);
    }
  }
}

/// products times factors, to rows of a strip and, unless null, to others; adds what each row sums to.
template <class T>
void multiply_tile(std::int64_t rows, std::int64_t vectors, const T* products, const T* factors, T* to, Rows<T> other, Storing storing,
                   T* sums) {
  for (std::int64_t row = 0; row < rows; ++row) {
    Vector<T> sum = cpu::load(sums + row * kLanes<T>);
    for (std::int64_t column = 0; column < vectors * kLanes<T>; column += kLanes<T>) {
      const std::int64_t place = row * kStrip<T> + column;
      const Vector<T> product = cpu::load(products + place) * cpu::load(factors + place);
      cpu::store<T>(to + place, product);
      if (other.data != nullptr) cpu::put<T>(other.data + row * other.step + column, product, storing);
      sum += product;
    }
    cpu::store<T>(sums + row * kLanes<T>, sum);
  }
}

/// The gradients of a share of blocks, where they are sums over all points.
template <class T>
struct PartialSums {
  T *weight, *bias, *gate;  // of the latter two a vector for each channel
  static std::int64_t width(const MixSize& size) { return round_up(size.in, kLanes<T>); }
  static std::int64_t rows(const MixSize& size) { return round_up(size.out, Tiled<T>::height_for(size.out)); }
  static std::int64_t numbers(const MixSize& size) { return rows(size) * (width(size) + 2 * kLanes<T>); }
  PartialSums(const MixSize& size, T* memory)
      : weight(memory), bias(memory + rows(size) * width(size)), gate(bias + rows(size) * kLanes<T>) {}
  static void add_to(T* vectors, std::int64_t channel, Vector<T> addend) {
    T* place = vectors + channel * kLanes<T>;
    cpu::store<T>(place, cpu::load(place) + addend);
  }
};

/// What the shares have summed, in their order.
template <class T>
void add_parts(std::int64_t shares, std::int64_t stride, std::int64_t count, const T* first, Sum how, T* total) {
  if (how == Sum::replaces) std::fill_n(total, count, T(0));
  for (std::int64_t share = 0; share < shares; ++share) {
    const T* source = first + share * stride;
#pragma omp simd
    for (std::int64_t i = 0; i < count; ++i) total[i] += source[i];
  }
}
template <class T>
void add_vectors(std::int64_t shares, std::int64_t stride, std::int64_t count, const T* first, const Into<T>& total) {
  for (std::int64_t i = 0; i < count && total.to != nullptr; ++i) {
    Vector<T> sum{};
    for (std::int64_t share = 0; share < shares; ++share) sum += cpu::load(first + share * stride + i * kLanes<T>);
    total.to[i] = cpu::sum_of_lanes<T>(sum) + (total.sum == Sum::adds ? total.to[i] : T(0));
  }
}

/// The gradients of parameters from those of all shares.
template <class T>
void add_shares(const MixSize& size, std::int64_t shares, std::int64_t stride, const PartialSums<T>& first, const MixGradients<T>& to) {
  const bool many = shares * size.out * size.in > kWorthThreadsToAdd;
  share_out(to.weight.to == nullptr ? 0 : size.out, many ? omp_get_max_threads() : 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      add_parts(shares, stride, size.in, first.weight + row * PartialSums<T>::width(size), to.weight.sum, to.weight.to + row * size.in);
    }
  });
  add_vectors(shares, stride, size.out, first.bias, to.bias);
  add_vectors(shares, stride, size.out, first.gate, to.gate);
}

/// The gradient before the GELU of a block, and what follows from it by itself.
template <class T>
void fetch_gradient(const MixSize& size, const MixOperands<T>& from, const T* slope, const T* dy, const MixGradients<T>& to,
                    Storing storing, const PartialSums<T>& sums, const Columns& columns, const Strips<T>& gradients) {
  const Field field = field_out(size);
  field.each_run(columns, [&](std::int64_t channel, const Run& run, std::int64_t offset, std::int64_t ahead) {
    const T gate = from.gate == nullptr ? T(1) : from.gate[channel];
    Vector<T> sum{}, gated{};
    for (std::int64_t i = 0; i < run.count; i += kLanes<T>) {
      const std::int64_t left = run.count - i;
      __builtin_prefetch(dy + ahead + i);
      Vector<T> gradient = cpu::load_some(dy + offset + i, left);
      if (size.gelu) {
        __builtin_prefetch(slope + ahead + i);
        gradient *= cpu::load_some(slope + offset + i, left);
      }
      cpu::store_some(gradients.at(channel, run.place + i), gradient, left);
      sum += gradient;
      if (to.gate.to != nullptr) {
        __builtin_prefetch(from.addend + ahead + i);
        gated += gradient * cpu::load_some(from.addend + offset + i, left);
      }
      if (to.addend != nullptr) cpu::put_some<T>(to.addend + offset + i, gate * gradient, left, storing);
    }
    sums.add_to(sums.bias, channel, sum);
    if (to.gate.to != nullptr) sums.add_to(sums.gate, channel, gated);
  });
  gradients.fill_ends(columns.count);
}

/// sums += dz x^T of a block: by dots where transposing x to whole vectors costs more.
template <class T>
void add_weight_gradient(const MixSize& size, std::int64_t vectors, const Strips<const T>& dz, const Strips<const T>& x, T* panels,
                         T* sums) {
  const std::int64_t width = PartialSums<T>::width(size);
  constexpr std::int64_t kTransposing = 6, kDots = 118;  // cycles of a vector, and hundredths of that of a product
  if (size.out * size.in * kDots < 100 * (size.out * width + kTransposing * size.in)) {
    return cpu::add_products_of_rows<T>(vectors, size.out, dz, x, width, sums);
  }
  cpu::transpose_strips<T>(vectors, x, panels);
  cpu::add_outer_product<T>(vectors, dz, Tiled<T>::height_for(size.out), width, panels, sums);
}

}  // namespace

template <class T>
void mix_forward(Cpu, const MixChain<T>& chain, T* slope, T* y) {
  const MixSize &first = chain.maps.front().size, &last = chain.maps.back().size;
  const std::size_t count = chain.maps.size();
  const Blocks<T> blocks(first.batch, first.points);
  std::vector<PackedWeight<T>> weights;
  std::vector<Result<T>> seconds;  // of the GELU behind each map: what it is given, or the slope of the last one
  for (const auto& [size, from, kept, to] : chain.maps) {
    weights.emplace_back(size.out, size.in, from.weight, size.in, 1, from.bias);
    seconds.emplace_back(seconds.size() + 1 == count ? slope : kept, field_out(size));
  }
  const Result<T> result(y, field_out(last)), none(nullptr, field_out(last));
  cpu::in_parallel(blocks, worth_threads(chain), [&] {
    std::vector<Source<T>> addends;
    std::vector<StripMemory<T>> between;
    for (const auto& [size, from, kept, to] : chain.maps) {
      const bool reads = from.addend != nullptr && !(chain.adds_x && addends.size() + 1 == count);
      addends.emplace_back(from.addend, reads ? field_out(size) : Field{});
      between.emplace_back(between.size() + 1 == count ? 0 : size.out);
    }
    return [&, x = Source<T>(chain.maps.front().from.x, field_in(first)), addends = std::move(addends),
            between = std::move(between)](std::int64_t index) {
      alignas(cpu::kVectorBytes) T second_beside[cpu::kTileRows * kStrip<T>];
      const Columns columns = blocks[index];
      x.fetch(columns);
      for (std::size_t i = 0; i < count; ++i) {
        const auto& [size, from, kept, to] = chain.maps[i];
        const bool is_last = i + 1 == count, adds_x = is_last && chain.adds_x;
        const Result<T>& second = seconds[i];
        const Strips<T> next = between[i].strips();
        if (!adds_x) addends[i].fetch(columns);
        const auto finish = [&](std::int64_t strip, std::int64_t row, std::int64_t rows, std::int64_t vectors, const T* sums, Rows<T> to) {
          const Rows<T> beside = second.tile(columns, strip, row, second_beside);
          if (is_last) {
            gelu_of_tile<T, Second::slope>(rows, vectors, sums, to, result.storing(), beside, second.storing());
          } else {
            gelu_of_tile<T, Second::given>(rows, vectors, sums, {next.strip(strip) + row * kStrip<T>, kStrip<T>}, Storing::cached, beside,
                                           second.storing());
          }
          second.spread(columns, strip, row, rows, second_beside);
        };
        const Strips<const T> no_rows{};
        const Addend<T> added{adds_x ? x.rows(columns) : from.addend == nullptr ? no_rows : addends[i].rows(columns), from.gate};
        cpu::strip_products<T>(weights[i], columns, i == 0 ? x.rows(columns) : between[i - 1].strips(), added, is_last ? result : none,
                               is_last && !size.gelu, finish);
      }
    };
  });
}

template <class T>
void mix_backward(Cpu, const MixChain<T>& chain, const T* slope, const T* dy) {
  using Sums = PartialSums<T>;
  const std::size_t count = chain.maps.size();
  const MixMap<T>&first = chain.maps.front(), &last = chain.maps.back();
  const Blocks<T> blocks(first.size.batch, first.size.points);
  std::vector<PackedWeight<T>> weights;
  std::vector<Result<T>> addends;
  std::vector<std::int64_t> places;  // of a map's sums among those of a share
  std::int64_t own = 0, widest = 0;
  for (const auto& [size, from, kept, to] : chain.maps) {
    weights.emplace_back(size.in, size.out, from.weight, 1, size.in, nullptr);
    addends.emplace_back(to.addend, field_out(size));
    places.push_back(own);
    own += Sums::numbers(size), widest = std::max(widest, size.in);
  }
  const Block sums = numbers<T>(blocks.shares() * own);
  const Into<T>& x_to = first.to.x;
  const bool adds = x_to.sum == Sum::adds;
  const Result<T> dx(x_to.to, field_in(first.size)), none(nullptr, {});
  cpu::in_parallel(blocks, worth_threads(chain), [&] {
    std::vector<Source<T>> sources;
    std::vector<StripMemory<T>> gradients;
    for (const auto& [size, from, kept, to] : chain.maps) {
      const bool is_first = sources.empty();
      const bool is_read = !is_first || to.weight.to != nullptr;
      sources.emplace_back(from.x, is_read ? field_in(size) : Field{}, is_first ? Taken::as_it_is : Taken::through_gelu);
      gradients.emplace_back(Sums::rows(size));
    }
    return [&, sources = std::move(sources), gradients = std::move(gradients),
            before = Source<T>(x_to.to, adds ? field_in(first.size) : Field{}),
            panels = numbers<T>(cpu::numbers_of_panels<T>(widest))](std::int64_t index) {
      alignas(cpu::kVectorBytes) T addend_beside[cpu::kTileRows * kStrip<T>];
      const Columns columns = blocks[index];
      T* const own_sums = static_cast<T*>(sums.data()) + index / blocks.per_share() * own;
      if (index % blocks.per_share() == 0) std::fill_n(own_sums, own, T(0));
      fetch_gradient<T>(last.size, last.from, slope, dy, last.to, addends.back().storing(), Sums(last.size, own_sums + places.back()),
                        columns, gradients.back().strips());
      for (std::size_t i = count; i-- > 0;) {
        const auto& [size, from, kept, to] = chain.maps[i];
        const Strips<const T> dz = gradients[i].strips();
        sources[i].fetch(columns);
        if (to.weight.to != nullptr) {
          add_weight_gradient<T>(size, cpu::vectors_of<T>(columns), dz, sources[i].rows(columns), static_cast<T*>(panels.data()),
                                 Sums(size, own_sums + places[i]).weight);
        }
        if (i > 0) {
          const Sums mine(chain.maps[i - 1].size, own_sums + places[i - 1]);
          const Strips<const T> slopes = sources[i].slopes();
          const Strips<T> next = gradients[i - 1].strips();
          const Result<T>& addend = addends[i - 1];
          const auto finish = [&](std::int64_t strip, std::int64_t row, std::int64_t rows, std::int64_t vectors, const T* products,
                                  Rows<T>) {
            const std::int64_t place = row * kStrip<T>;
            multiply_tile<T>(rows, vectors, products, slopes.strip(strip) + place, next.strip(strip) + place,
                             addend.tile(columns, strip, row, addend_beside), addend.storing(), mine.bias + row * kLanes<T>);
            addend.spread(columns, strip, row, rows, addend_beside);
          };
          cpu::strip_products<T>(weights[i], columns, dz, {}, none, false, finish);
        } else if (x_to.to != nullptr) {
          before.fetch(columns);
          const Addend<T> added{chain.adds_x ? gradients.back().strips()
                                : adds       ? before.rows(columns)
                                             : Strips<const T>{},
                                chain.adds_x ? last.from.gate : nullptr};
          cpu::strip_products<T>(weights[i], columns, dz, added, dx, true, [](auto&&...) {});
        }
      }
    };
  });
  for (std::size_t i = 0; i < count; ++i) {
    const auto& [size, from, kept, to] = chain.maps[i];
    add_shares<T>(size, blocks.shares(), own, Sums(size, static_cast<T*>(sums.data()) + places[i]), to);
  }
}

template <class T>
void mix_forward(Cpu cpu, const MixSize& size, const MixOperands<T>& from, T* slope, T* y) {
  const MixMap<T> map{.size = size, .from = from};
  mix_forward<T>(cpu, {{&map, 1}}, slope, y);
}

template <class T>
void mix_backward(Cpu cpu, const MixSize& size, const MixOperands<T>& from, const T* slope, const T* dy, const MixGradients<T>& to) {
  const MixMap<T> map{.size = size, .from = from, .to = to};
  mix_backward<T>(cpu, {{&map, 1}}, slope, dy);
}

#define TRIDENT_CHANNEL_MIX(T)                                                      \
  template void mix_forward<T>(Cpu, const MixChain<T>&, T*, T*);                    \
  template void mix_backward<T>(Cpu, const MixChain<T>&, const T*, const T*);       \
  template void mix_forward<T>(Cpu, const MixSize&, const MixOperands<T>&, T*, T*); \
  template void mix_backward<T>(Cpu, const MixSize&, const MixOperands<T>&, const T*, const T*, const MixGradients<T>&);
TRIDENT_CHANNEL_MIX(float)
TRIDENT_CHANNEL_MIX(double)

}  // namespace trident
