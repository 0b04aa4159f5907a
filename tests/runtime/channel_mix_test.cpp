#include "runtime/ops/channel_mix.h"

#include <omp.h>

#include "runtime/autograd/tape.h"
#include "runtime/error.h"
#include "runtime/ops/elementwise.h"
#include "runtime/ops/reduce.h"
#include "runtime/ops/shape.h"
#include "runtime/tensor/create.h"
#include "tests/support/gradcheck.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_near.h"

namespace trident {
namespace {

using testing::gradcheck_on_every_device;
using testing::random_tensor;

Tensor numbers(const Shape& shape, const std::vector<double>& values) { return from_values(shape, values); }

TEST(ChannelMix, MixesTheChannelsOfEachPoint) {
  const Tensor x = numbers({1, 2, 3}, {1, 2, 3, 10, 20, 30}), weight = numbers({1, 2, 1}, {2, 0.5});
  EXPECT_TENSOR_NEAR(channel_mix(x, weight), numbers({1, 1, 3}, {7, 14, 21}), 0);
  const Tensor y =
      channel_mix(x, weight, {.bias = numbers({1}, {100}), .addend = numbers({1, 1, 3}, {1, 2, 3}), .gate = numbers({1, 1, 1}, {-1})});
  EXPECT_TENSOR_NEAR(y, numbers({1, 1, 3}, {106, 112, 118}), 0);
}

/// The same from operations on whole tensors.
Tensor step_by_step(const std::vector<Tensor>& in, bool end_in_gelu) {
  const std::int64_t out = in[1].size(0), channels = in[1].size(1);
  const Shape& shape = in[0].shape();
  const Tensor spread = reshape(in[0], {shape[0], 1, channels, shape[2], shape[3]}) * reshape(in[1], {1, out, channels, 1, 1});
  Tensor y = reshape(sum(spread, {2}), {shape[0], out, shape[2], shape[3]});
  y = y + reshape(in[2], {out, 1, 1}) + in[3] * reshape(in[4], {out, 1, 1});
  return end_in_gelu ? gelu(y) : y;
}

/// Points that fill no whole vectors, so that strips reach from sample to sample; whole vectors, an odd number of them; more samples than
/// points of each; and rows that push each other out of the cache, in several shares of blocks.
const std::vector<Shape> kFields{{3, 5, 30, 50}, {3, 5, 16, 27}, {40, 5, 1, 3}, {3, 5, 64, 128}};

/// x, weight, bias, addend and gate of a mix of such a field to 7 channels.
std::vector<Tensor> operands(const Shape& field) {
  return {random_tensor(field, 1), random_tensor({7, 5}, 2), random_tensor({7}, 3), random_tensor({field[0], 7, field[2], field[3]}, 4),
          random_tensor({7}, 5)};
}

std::vector<Tensor> leaves(const std::vector<Tensor>& values) {
  std::vector<Tensor> result;
  for (const Tensor& x : values) result.push_back(leaf(x));
  return result;
}

void expect_equal_gradients(const Tensor& y, const std::vector<Tensor>& in, const Tensor& expected, const std::vector<Tensor>& others) {
  EXPECT_TENSOR_NEAR(y.detached(), expected.detached(), 1e-13);
  const Tensor dy = random_tensor(y.shape(), 6);
  const std::vector<Tensor> actual = gradients(y, dy, in), wanted = gradients(expected, dy, others);
  for (std::size_t i = 0; i < actual.size(); ++i) EXPECT_TENSOR_NEAR(actual[i], wanted[i], 1e-11);
}

TEST(ChannelMix, AgreesWithItsParts) {
  for (const Shape& field : kFields) {
    for (const bool end_in_gelu : {false, true}) {
      const std::vector<Tensor> first = leaves(operands(field)), second = leaves(operands(field));
      const Tensor y = channel_mix(first[0], first[1], {.bias = first[2], .addend = first[3], .gate = first[4], .gelu = end_in_gelu});
      expect_equal_gradients(y, first, step_by_step(second, end_in_gelu), second);
    }
  }
}

TEST(ChannelMix, WithoutAGateAgreesToo) {
  for (const Shape& field : kFields) {
    std::vector<Tensor> in = operands(field);
    in.pop_back();
    const std::vector<Tensor> first = leaves(in), second = leaves(in);
    const Tensor y = channel_mix(first[0], first[1], {.bias = first[2], .addend = first[3], .gelu = true});
    std::vector<Tensor> parts = second;
    parts.push_back(full({7}, 1.0, DType::f64));
    expect_equal_gradients(y, first, step_by_step(parts, true), second);
  }
}

/// Three maps of x (5 channels) to 7, 3 and again 5 channels, the first with an addend, the last with x behind a gate; as one pass, or map
/// by map.
std::vector<Tensor> chain_operands(const Shape& field) {
  const Shape between{field[0], 7, field[2], field[3]};
  return {random_tensor(field, 1), random_tensor({7, 5}, 2), random_tensor({7}, 3), random_tensor(between, 4), random_tensor({3, 7}, 5),
          random_tensor({3}, 6),   random_tensor({5, 3}, 7), random_tensor({5}, 8), random_tensor({5}, 9)};
}
std::vector<Mix> chain_of(const std::vector<Tensor>& in, bool end_in_gelu) {
  return {{in[1], {.bias = in[2], .addend = in[3], .gelu = true}},
          {in[4], {.bias = in[5], .gelu = true}},
          {in[6], {.bias = in[7], .addend = in[0], .gate = in[8], .gelu = end_in_gelu}}};
}
Tensor map_by_map(const Tensor& x, const std::vector<Mix>& maps) {
  Tensor y = x;
  for (const Mix& map : maps) y = channel_mix(y, map.weight, map.ending);
  return y;
}

TEST(ChannelMixes, AgreeWithOneMixAfterTheOther) {
  for (const Shape& field : kFields) {
    for (const bool end_in_gelu : {false, true}) {
      const std::vector<Tensor> first = leaves(chain_operands(field)), second = leaves(chain_operands(field));
      expect_equal_gradients(channel_mixes(first[0], chain_of(first, end_in_gelu)), first,
                             map_by_map(second[0], chain_of(second, end_in_gelu)), second);
    }
  }
}

TEST(ChannelMixes, AddTheirGradientToThoseOfOtherReaders) {
  for (const Shape& field : kFields) {
    for (const bool adds_x : {false, true}) {
      const auto run = [&](const std::vector<Tensor>& in, auto&& mixes) {
        std::vector<Mix> maps = chain_of(in, false);
        if (!adds_x) maps.back().ending = {.bias = in[7]};
        return mixes(in[0], maps) * in[0];
      };
      std::vector<Tensor> first = leaves(chain_operands(field)), second = leaves(chain_operands(field));
      const Tensor y = run(first, channel_mixes), expected = run(second, map_by_map);
      if (!adds_x) first.pop_back(), second.pop_back();
      expect_equal_gradients(y, first, expected, second);
    }
  }
}

TEST(ChannelMixes, TakeAnotherAddendThanX) {
  const std::vector<Tensor> first = leaves(chain_operands(kFields[0])), second = leaves(chain_operands(kFields[0]));
  const auto maps = [](const std::vector<Tensor>& in) {
    std::vector<Mix> result = chain_of(in, true);
    result.back().ending.addend = in[0] * in[0];
    return result;
  };
  expect_equal_gradients(channel_mixes(first[0], maps(first)), first, map_by_map(second[0], maps(second)), second);
}

TEST(ChannelMixes, WithoutATapeGiveTheSame) {
  const std::vector<Tensor> in = chain_operands(kFields[1]), recorded = leaves(in);
  EXPECT_TENSOR_NEAR(channel_mixes(in[0], chain_of(in, true)), channel_mixes(recorded[0], chain_of(recorded, true)).detached(), 0);
}

TEST(ChannelMixes, Gradients) {
  const std::vector<Tensor> in{random_tensor({2, 3, 4}, 1), random_tensor({2, 3, 1}, 2), random_tensor({2}, 3),
                               random_tensor({2, 2, 4}, 4), random_tensor({3, 2}, 5),    random_tensor({3}, 6)};
  EXPECT_TRUE(gradcheck_on_every_device(
      [](const auto& x) {
        return channel_mixes(x[0],
                             {{x[1], {.bias = x[2], .addend = x[3], .gelu = true}}, {x[4], {.addend = x[0], .gate = x[5], .gelu = true}}});
      },
      in));
}

TEST(ChannelMix, AddsItsGradientToThoseOfOtherReaders) {
  for (const Shape& field : kFields) {
    const std::vector<Tensor> first = leaves(operands(field)), second = leaves(operands(field));
    const Tensor y = channel_mix(first[0], first[1], {.bias = first[2], .addend = first[3], .gate = first[4]});
    const Tensor expected = step_by_step(second, false);
    const Tensor other = reshape(sum(first[0], {1}), {field[0], 1, field[2], field[3]});
    const Tensor others = reshape(sum(second[0], {1}), {field[0], 1, field[2], field[3]});
    expect_equal_gradients(y + y * other, first, expected + expected * others, second);
  }
}

/// Gradients of a mix, and of two, in f32 beside those in f64, of as many channels as are mixed by transposed blocks, and fields as large
/// as are stored past the caches.
void expect_f32_like_f64(const Shape& field, std::int64_t out) {
  const std::int64_t in = field[1];
  const Shape result{field[0], out, field[2], field[3]};
  const std::vector<Tensor> values{random_tensor(field, 1),  random_tensor({out, in}, 2), random_tensor({out}, 3),
                                   random_tensor(result, 4), random_tensor({out}, 5),     random_tensor({out, out}, 6)};
  const Tensor dy = random_tensor(result, 7);
  std::vector<std::vector<Tensor>> found;
  for (const DType dtype : {DType::f32, DType::f64}) {
    std::vector<Tensor> at;
    for (const Tensor& value : values) at.push_back(leaf(cast(value, dtype)));
    const MixEnding ending{.bias = at[2], .addend = at[3], .gate = at[4], .gelu = true}, plain{.bias = at[2]},
        inner{.bias = at[2], .addend = at[3], .gelu = true};
    const std::vector<Tensor> y{channel_mix(at[0], at[1], ending), channel_mix(at[0], at[1], plain),
                                channel_mixes(at[0], {{at[1], inner}, {at[5], ending}}),
                                channel_mixes(at[0], {{at[1], inner}, {at[5], plain}})};
    found.push_back(gradients(y[0] + y[1] + y[2] + y[3], cast(dy, dtype), at));
    for (const Tensor& each : y) found.back().push_back(each.detached());
  }
  for (std::size_t i = 0; i < found[0].size(); ++i) EXPECT_TENSOR_NEAR(cast(found[0][i], DType::f64), found[1][i], 3e-3);
}

TEST(ChannelMix, OfF32AgreesWithF64) {
  expect_f32_like_f64({2, 33, 16, 32}, 13);
  expect_f32_like_f64({2, 64, 8, 33}, 40);
  expect_f32_like_f64({2, 48, 128, 96}, 50);
}

TEST(ChannelMix, DoesNotDependOnThreads) {
  const std::vector<Tensor> in = leaves(operands({3, 5, 64, 128})), chained = leaves(chain_operands({3, 5, 64, 128}));
  const auto run = [&](int threads) {
    const int before = omp_get_max_threads();
    omp_set_num_threads(threads);
    const Tensor y = channel_mix(in[0], in[1], {.bias = in[2], .addend = in[3], .gate = in[4], .gelu = true});
    const Tensor z = channel_mixes(chained[0], chain_of(chained, true));
    std::vector<Tensor> result = gradients(y, random_tensor(y.shape(), 6), in),
                        of_chain = gradients(z, random_tensor(z.shape(), 6), chained);
    omp_set_num_threads(before);
    result.insert(result.end(), of_chain.begin(), of_chain.end());
    result.push_back(y.detached());
    result.push_back(z.detached());
    return result;
  };
  const std::vector<Tensor> alone = run(1), together = run(3);
  for (std::size_t i = 0; i < alone.size(); ++i) EXPECT_TENSOR_NEAR(alone[i], together[i], 0);
}

TEST(ChannelMix, Gradients) {
  const Tensor x = random_tensor({2, 3, 4}, 1), weight = random_tensor({2, 3, 1}, 2), bias = random_tensor({2}, 3),
               addend = random_tensor({2, 2, 4}, 4), gate = random_tensor({1, 2, 1}, 5);
  EXPECT_TRUE(gradcheck_on_every_device([](const auto& in) { return channel_mix(in[0], in[1]); }, {x, weight}));
  EXPECT_TRUE(gradcheck_on_every_device([](const auto& in) { return channel_mix(in[0], in[1], {.bias = in[2], .gelu = true}); },
                                        {x, weight, bias}));
  EXPECT_TRUE(gradcheck_on_every_device([](const auto& in) { return channel_mix(in[0], in[1], {.addend = in[2]}); }, {x, weight, addend}));
  EXPECT_TRUE(gradcheck_on_every_device(
      [](const auto& in) { return channel_mix(in[0], in[1], {.bias = in[2], .addend = in[3], .gate = in[4], .gelu = true}); },
      {x, weight, bias, addend, gate}));
}

TEST(ChannelMix, TakesBatchesWithoutSamples) {
  const Tensor weight = leaf(random_tensor({4, 3}, 1)), bias = leaf(random_tensor({4}, 2));
  const Tensor y = channel_mix(zeros({0, 3, 5}, DType::f64), weight, {.bias = bias, .gelu = true});
  EXPECT_EQ(y.shape(), (Shape{0, 4, 5}));
  const std::vector<Tensor> found = gradients(y, zeros({0, 4, 5}, DType::f64), {weight, bias});
  EXPECT_TENSOR_NEAR(found[0], zeros({4, 3}, DType::f64), 0);
  EXPECT_TENSOR_NEAR(found[1], zeros({4}, DType::f64), 0);
}

TEST(ChannelMix, NamesWhatDoesNotFit) {
  const Tensor x = zeros({2, 3, 4}, DType::f32);
  EXPECT_THROW(channel_mix(x, zeros({5, 2}, DType::f32)), ShapeError);
  EXPECT_THROW(channel_mix(x, zeros({5, 3, 3}, DType::f32)), ShapeError);
  EXPECT_THROW(channel_mix(x, zeros({5, 3}, DType::f64)), ShapeError);
  EXPECT_THROW(channel_mix(x, zeros({5, 3}, DType::f32), {.bias = zeros({4}, DType::f32)}), ShapeError);
  EXPECT_THROW(channel_mix(x, zeros({5, 3}, DType::f32), {.addend = zeros({2, 5, 3}, DType::f32)}), ShapeError);
  EXPECT_THROW(channel_mix(x, zeros({5, 3}, DType::f32), {.gate = zeros({5}, DType::f32)}), ShapeError);
  const Mix to_five{zeros({5, 3}, DType::f32), {.gelu = true}}, without_gelu{zeros({5, 3}, DType::f32), {}};
  EXPECT_THROW(channel_mixes(x, {to_five, to_five}), ShapeError);
  EXPECT_THROW(channel_mixes(x, {without_gelu, {zeros({2, 5}, DType::f32), {}}}), ShapeError);
}

}  // namespace
}  // namespace trident
