#include "parallel/parameter.h"

#include <gtest/gtest.h>

#include <cmath>

#include "runtime/autograd/tape.h"
#include "runtime/error.h"
#include "runtime/ops/elementwise.h"
#include "runtime/ops/reduce.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

/// A module by hand: a fused query, key, value bias whose key part the reference lacks, a plain weight, and a buffer.
struct Toy {
  Parameter weight = whole_parameter({3, 5}, Init::normal(0.02));
  Parameter qkv{.shape = {12},
                .pieces = {{.name = "query.bias", .full_shape = {4}, .owned = {{0, 4}}, .offset = 0, .init = Init::constant(2.0)},
                           {.name = "value.bias", .full_shape = {4}, .owned = {{0, 4}}, .offset = 8, .init = Init::uniform(-1.0, 1.0)}},
                .replicated = AxisSet::all(),
                .prepared = false,
                .value = {}};
  Parameter table = whole_parameter({7}, Init::constant(1.0));
  Buffer count{.shape = {1}, .initial = 3.0, .dtype = DType::i64, .value = {}};

  Visit visit() {
    return [this](const ParameterVisitor& visitor) {
      visitor.parameter("dense.weight", weight);
      visitor.parameter("attention", qkv);
      visitor.parameter("table", table);
      visitor.buffer("norm.num_batches_tracked", count);
    };
  }
};

TEST(Parameter, EveryEntryStartsAtACacheLine) {
  for (const DType dtype : {DType::f32, DType::f64}) {
    Toy toy;
    const ParameterList parameters = materialize(toy.visit(), dtype, Use::training, RandomKey(1));
    for (const auto& entry : parameters.entries()) {
      EXPECT_EQ(entry.offset * static_cast<std::int64_t>(size_of(dtype)) % 64, 0);
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(entry.value.bytes()) % 64, 0U);
      EXPECT_EQ(entry.value.bytes(), parameters.values().bytes() + entry.offset * static_cast<std::int64_t>(size_of(dtype)));
    }
  }
}

TEST(Parameter, PiecesKeepTheOrderAndTheNamesOfTheReference) {
  Toy toy;
  const ParameterList parameters = materialize(toy.visit(), DType::f32, Use::inference, RandomKey(1));
  std::vector<std::string> names;
  for (const NamedPiece& piece : parameters.pieces()) names.push_back(piece.name);
  EXPECT_EQ(names, (std::vector<std::string>{"dense.weight", "attention.query.bias", "attention.value.bias", "table"}));
  EXPECT_FALSE(parameters.gradients().defined());
  EXPECT_EQ(toy.weight.value.node(), nullptr);
  const auto described = describe(toy.visit());
  ASSERT_EQ(described.size(), 5U);
  EXPECT_EQ(described[1].name, "attention.query.bias");
  EXPECT_EQ(described[4].name, "norm.num_batches_tracked");
}

TEST(Parameter, HolesAreZeroAndPiecesHaveTheirInitialValues) {
  Toy toy;
  const ParameterList parameters = materialize(toy.visit(), DType::f64, Use::training, RandomKey(5));
  const auto bias = to_host<double>(toy.qkv.value);
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(bias[i], 2.0);
    EXPECT_EQ(bias[4 + i], 0.0);
    EXPECT_EQ(bias[8 + i], -1.0 + 2.0 * uniform(RandomKey(5).fold("attention.value.bias"), i));
  }
  EXPECT_EQ(to_host<std::int64_t>(parameters.buffers()[0].value), (std::vector<std::int64_t>{3}));
}

/// A complex weight, or columns [first, last) of it, beside a real one.
struct Spectral {
  Parameter weight, bias = whole_parameter({3}, Init::constant(1.0));

  explicit Spectral(Range columns = {0, 5})
      : weight{.shape = {4, columns.size()},
               .pieces = {{.name = "tensor",
                           .full_shape = {4, 5},
                           .owned = {{0, 4}, columns},
                           .offset = 0,
                           .init = Init::normal(2.0),
                           .numbers = Numbers::complex}},
               .replicated = AxisSet::all(),
               .prepared = false,
               .value = {}} {}

  Visit visit() {
    return [this](const ParameterVisitor& visitor) {
      visitor.parameter("weight", weight);
      visitor.parameter("bias", bias);
    };
  }
};

TEST(ComplexParameter, TakesTwoRealsANumberInTheFlatBuffers) {
  Spectral layer;
  const ParameterList parameters = materialize(layer.visit(), DType::f32, Use::training, RandomKey(3));
  EXPECT_EQ(layer.weight.value.dtype(), DType::c64);
  EXPECT_EQ(layer.weight.value.shape(), (Shape{4, 5}));
  const NamedPiece& piece = parameters.pieces()[0];
  EXPECT_EQ(piece.name, "weight.tensor");
  EXPECT_EQ(piece.size, 40);
  EXPECT_EQ(piece.value.dtype(), DType::c64);
  EXPECT_EQ(parameters.pieces()[1].offset, 48);  // the next cache line
  const std::vector<float> flat = to_host<float>(parameters.values());
  EXPECT_EQ(to_host<c64>(layer.weight.value)[7], c64(flat[14], flat[15]));
  EXPECT_EQ(describe(layer.visit())[0].numbers, Numbers::complex);
  const Tensor dy = from_values({4, 5}, std::vector<c64>(20, c64(1.0F, -2.0F)));
  backward(record("imagine", full({1}, 0.0, DType::f32), {layer.weight.value}, [dy](const Tensor&, Wanted) { return std::vector{dy}; }));
  EXPECT_EQ(to_host<c64>(piece.gradient), std::vector<c64>(20, c64(1.0F, -2.0F)));
  EXPECT_EQ(to_host<float>(parameters.gradients())[39], -2.0F);
}

TEST(ComplexParameter, NormalNumbersHaveHalfTheVarianceInEachPartAndDependOnTheGlobalElement) {
  Spectral whole, part({2, 4});
  materialize(whole.visit(), DType::f64, Use::inference, RandomKey(3));
  materialize(part.visit(), DType::f64, Use::inference, RandomKey(3));
  const RandomKey key = RandomKey(3).fold("weight.tensor");
  const auto all = to_host<c128>(whole.weight.value), some = to_host<c128>(part.weight.value);
  for (std::size_t i = 0; i < all.size(); ++i) {
    EXPECT_NEAR(all[i].real(), std::sqrt(2.0) * normal(key, 2 * i), 1e-15);
    EXPECT_NEAR(all[i].imag(), std::sqrt(2.0) * normal(key, 2 * i + 1), 1e-15);
  }
  for (std::size_t row = 0; row < 4; ++row) {
    for (std::size_t column = 0; column < 2; ++column) EXPECT_EQ(some[row * 2 + column], all[row * 5 + 2 + column]);
  }
}

TEST(ComplexParameter, DoesNotShareAPhysicalTensorWithRealPieces) {
  Spectral layer;
  layer.weight.shape = {40};
  layer.weight.pieces.push_back({.name = "real", .full_shape = {4}, .owned = {{0, 4}}, .offset = 20, .init = Init::constant(0.0)});
  EXPECT_THROW(materialize(layer.visit(), DType::f32, Use::training, RandomKey(1)), ShapeError);
}

TEST(Parameter, APartHasTheNumbersOfTheWhole) {
  Parameter whole = whole_parameter({4, 6, 5}, Init::normal(1.0));
  Parameter part{
      .shape = {2, 3, 5},
      .pieces = {{.name = "", .full_shape = {4, 6, 5}, .owned = {{1, 3}, {2, 5}, {0, 5}}, .offset = 0, .init = Init::normal(1.0)}},
      .replicated = AxisSet::all(),
      .prepared = false,
      .value = {}};
  const auto materialized = [](Parameter& parameter) {
    return materialize([&](const ParameterVisitor& visitor) { visitor.parameter("w", parameter); }, DType::f64, Use::inference,
                       RandomKey(2));
  };
  const ParameterList a = materialized(whole), b = materialized(part);
  const auto all = to_host<double>(whole.value), some = to_host<double>(part.value);
  std::size_t next = 0;
  for (std::size_t i = 1; i < 3; ++i) {
    for (std::size_t j = 2; j < 5; ++j) {
      for (std::size_t k = 0; k < 5; ++k) EXPECT_EQ(some[next++], all[(i * 6 + j) * 5 + k]);
    }
  }
}

TEST(Parameter, APartThatThreadsShareHasTheNumbersOfTheirIndices) {
  Parameter part{
      .shape = {2, 3, 20000},
      .pieces = {{.name = "", .full_shape = {3, 5, 20000}, .owned = {{1, 3}, {1, 4}, {0, 20000}}, .offset = 0, .init = Init::normal(0.5)}},
      .replicated = AxisSet::all(),
      .prepared = false,
      .value = {}};
  const ParameterList parameters =
      materialize([&](const ParameterVisitor& visitor) { visitor.parameter("w", part); }, DType::f32, Use::inference, RandomKey(2));
  const RandomKey key = RandomKey(2).fold("w");
  const auto values = to_host<float>(part.value);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::size_t row = i / 60000 * 100000 + 100000 + 20000;
    ASSERT_EQ(values[i], static_cast<float>(0.5 * normal(key, row + i % 60000))) << i;
  }
}

TEST(Parameter, GradientsArriveInTheFlatBuffer) {
  Toy toy;
  const ParameterList parameters = materialize(toy.visit(), DType::f32, Use::training, RandomKey(1));
  const Tensor share = record("third", full({1}, 0.0, DType::f32), {toy.table.value},
                              [](const Tensor&, Wanted) { return std::vector{full({7}, 3.0, DType::f32)}; });
  backward(share);
  for (const NamedPiece& piece : parameters.pieces()) {
    const std::vector<float> gradient = to_host<float>(piece.gradient);
    for (const float value : gradient) EXPECT_EQ(value, piece.name == "table" ? 3.0F : 0.0F) << piece.name;
  }
  parameters.zero_gradients();
  EXPECT_EQ(to_host<float>(parameters.pieces()[3].gradient), std::vector<float>(7, 0.0F));
}

TEST(Parameter, GradientsThatAreStartedAreThoseThatAreZeroedFirst) {
  Toy toy;
  const ParameterList parameters = materialize(toy.visit(), DType::f64, Use::training, RandomKey(1));
  const auto found = [&](bool zeroed) {
    copy_into(parameters.gradients(), full(parameters.gradients().shape(), 100.0, DType::f64));  // of the step before, and no table's
    if (zeroed) {
      parameters.zero_gradients();
    } else {
      parameters.start_gradients();
    }
    for (int part = 0; part < 2; ++part) backward(sum(toy.weight.value * toy.weight.value) + sum(affine(toy.qkv.value, 3.0)));
    parameters.complete_gradients();
    std::vector<std::vector<double>> gradients;
    for (const NamedPiece& piece : parameters.pieces()) gradients.push_back(to_host<double>(piece.gradient));
    return gradients;
  };
  const auto expected = found(true);
  EXPECT_EQ(found(false), expected);
  EXPECT_EQ(expected[1], std::vector<double>(4, 6.0));
  EXPECT_EQ(expected[3], std::vector<double>(7, 0.0));
}

TEST(Parameter, FrozenOnesAreNotLeavesAndLieLast) {
  Toy toy;
  const ParameterList parameters = materialize(toy.visit(), DType::f32, Use::training, RandomKey(1), {"dense.*", "*.query.bias"});
  EXPECT_EQ(toy.weight.value.node(), nullptr);
  EXPECT_NE(toy.qkv.value.node(), nullptr);  // its value bias is trained
  EXPECT_EQ(parameters.entries().back().name, "dense.weight");
  EXPECT_EQ(parameters.gradients().numel(), parameters.entries().back().offset);
  EXPECT_FALSE(parameters.pieces()[1].trainable);
  EXPECT_FALSE(parameters.pieces()[1].gradient.defined());
  EXPECT_TRUE(parameters.pieces()[2].trainable);
}

TEST(Parameter, EntriesAreSortedByTheAxesThatSumThem) {
  Toy toy;
  toy.weight.replicated = AxisSet(Axis::data) | Axis::domain_y | Axis::domain_x;
  toy.table.prepared = true;
  const ParameterList parameters = materialize(toy.visit(), DType::f32, Use::training, RandomKey(1));
  EXPECT_EQ(parameters.entries()[0].name, "dense.weight");
  EXPECT_EQ(parameters.entries()[1].name, "table");  // its gradient comes last: apart from the others of its axes
  EXPECT_EQ(parameters.entries()[2].name, "attention");
  EXPECT_EQ(parameters.pieces()[0].name, "dense.weight");
}

TEST(Parameter, RefusesWhatCannotBeMeant) {
  Toy toy;
  EXPECT_THROW(materialize(toy.visit(), DType::f32, Use::training, RandomKey(1), {"nothing.*"}), ConfigError);
  EXPECT_THROW(materialize(toy.visit(), DType::bf16, Use::training, RandomKey(1)), ConfigError);
  Toy overlapping;
  overlapping.qkv.pieces[1].offset = 3;
  EXPECT_THROW(materialize(overlapping.visit(), DType::f32, Use::training, RandomKey(1)), ShapeError);
  Toy outside;
  outside.qkv.pieces[1].owned = {{0, 5}};
  EXPECT_THROW(materialize(outside.visit(), DType::f32, Use::training, RandomKey(1)), ShapeError);
  Parameter twice = whole_parameter({1}, Init::constant(0.0));
  EXPECT_THROW(materialize(
                   [&](const ParameterVisitor& visitor) {
                     visitor.parameter("w", twice);
                     visitor.parameter("w", twice);
                   },
                   DType::f32, Use::training, RandomKey(1)),
               Error);
}

TEST(Parameter, WithoutAKeyAllIsZero) {
  Toy toy;
  const ParameterList parameters = materialize(toy.visit(), DType::f32, Use::inference, std::nullopt);
  for (const float value : to_host<float>(parameters.values())) EXPECT_EQ(value, 0.0F);
}

}  // namespace
}  // namespace trident
