#include "models/layers/spectral_conv.h"

#include <gtest/gtest.h>

#include <cmath>
#include <complex>
#include <numbers>

#include "runtime/autograd/tape.h"
#include "runtime/error.h"
#include "runtime/ops/complex.h"
#include "runtime/ops/elementwise.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"
#include "tests/support/gradcheck.h"
#include "tests/support/random_tensor.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tensor_near.h"

namespace trident {
namespace {

using testing::gradcheck;
using testing::message_of;
using testing::random_tensor;

ParameterList materialized(SpectralConv& conv, Use use = Use::inference) {
  return materialize([&](const ParameterVisitor& visitor) { walk(conv, visitor); }, DType::f64, use, RandomKey(1));
}

std::vector<std::string> names_of(SpectralConv& conv) {
  std::vector<std::string> names;
  for (const Described& tensor : describe([&](const ParameterVisitor& visitor) { walk(conv, visitor); })) {
    names.push_back(tensor.name + to_string(tensor.shape));
  }
  return names;
}

SpectralConvConfig config_of(Factorization factorization) {
  return {.in_channels = 3, .out_channels = 4, .n_modes = {6, 6}, .factorization = factorization, .rank = 0.4};
}

TEST(SpectralConv, HasTheNamesAndShapesOfTheReference) {
  const auto names = [](Factorization factorization) {
    SpectralConv conv(config_of(factorization), Mesh());
    return names_of(conv);
  };
  using Names = std::vector<std::string>;
  EXPECT_EQ(names(Factorization::dense), (Names{"bias(4, 1, 1)", "weight.tensor(3, 4, 6, 4)"}));
  EXPECT_EQ(names(Factorization::tucker),
            (Names{"bias(4, 1, 1)", "weight.core(2, 3, 4, 3)", "weight.factors.factor_0(3, 2)", "weight.factors.factor_1(4, 3)",
                   "weight.factors.factor_2(6, 4)", "weight.factors.factor_3(4, 3)"}));
  EXPECT_EQ(names(Factorization::cp),
            (Names{"bias(4, 1, 1)", "weight.weights(7,)", "weight.factors.factor_0(3, 7)", "weight.factors.factor_1(4, 7)",
                   "weight.factors.factor_2(6, 7)", "weight.factors.factor_3(4, 7)"}));
  EXPECT_EQ(names(Factorization::tt), (Names{"bias(4, 1, 1)", "weight.factors.factor_0(1, 3, 2)", "weight.factors.factor_1(2, 4, 3)",
                                             "weight.factors.factor_2(3, 6, 3)", "weight.factors.factor_3(3, 4, 1)"}));
}

TEST(SpectralConv, ReconstructedWeightsAreTheFactorsWithTheField) {
  const Tensor x = random_tensor({2, 3, 10, 9}, 1);
  for (const Factorization factorization : {Factorization::tucker, Factorization::cp, Factorization::tt}) {
    SpectralConvConfig config = config_of(factorization);
    SpectralConv factorized(config, Mesh());
    config.implementation = Contraction::reconstructed;
    SpectralConv reconstructed(config, Mesh());
    materialized(factorized), materialized(reconstructed);
    EXPECT_TENSOR_NEAR(factorized(x), reconstructed(x), 1e-13);
  }
}

/// A plane wave at (row, column) cycles per domain.
Tensor wave(std::int64_t ny, std::int64_t nx, std::int64_t row, std::int64_t column, double phase) {
  std::vector<double> values;
  for (std::int64_t y = 0; y < ny; ++y) {
    for (std::int64_t x = 0; x < nx; ++x) {
      values.push_back(std::cos(
          2.0 * std::numbers::pi *
              (static_cast<double>(row * y) / static_cast<double>(ny) + static_cast<double>(column * x) / static_cast<double>(nx)) +
          phase));
    }
  }
  return from_values({1, 1, ny, nx}, values);
}

/// One channel, each mode by a random number.
SpectralConvConfig single(std::vector<std::int64_t> modes) { return {.n_modes = std::move(modes), .bias = false}; }

TEST(SpectralConv, AWaveIsOneModeOnEveryGrid) {
  SpectralConv conv(single({6, 6}), Mesh());
  materialized(conv);
  for (const auto& [row, column] : {std::pair<std::int64_t, std::int64_t>{-3, 2}, {2, 1}, {-1, 3}, {0, 1}}) {
    // What becomes of it on a grid of 12 x 14, read off at points that every grid has.
    const Tensor expected = conv(wave(12, 16, row, column, 0.3));
    for (const auto& [ny, nx] : {std::pair<std::int64_t, std::int64_t>{8, 10}, {9, 7}, {24, 32}, {15, 21}}) {
      EXPECT_TENSOR_NEAR(conv(wave(ny, nx, row, column, 0.3), {12, 16}), expected, 1e-12) << ny << " x " << nx;
      EXPECT_TENSOR_NEAR(conv(wave(12, 16, row, column, 0.3), {ny, nx}), conv(wave(ny, nx, row, column, 0.3)), 1e-12) << ny << " x " << nx;
    }
  }
}

TEST(SpectralConv, DropsWavesBeyondItsModes) {
  SpectralConv conv(single({6, 6}), Mesh());
  materialized(conv);
  for (const auto& [row, column] : {std::pair<std::int64_t, std::int64_t>{3, 1}, {-4, 0}, {0, 4}}) {
    double largest = 0.0;
    for (const double value : to_host<double>(conv(wave(16, 16, row, column, 0.3)))) largest = std::max(largest, std::abs(value));
    EXPECT_LT(largest, 1e-14) << row << ", " << column;
  }
}

TEST(SpectralConv, OddModesBeforeV2BeginOneLowerOnEvenGrids) {
  SpectralConvConfig config = single({3, 4});
  config.modes_before_v2 = true;
  SpectralConv conv(config, Mesh());
  materialized(conv);
  for (const auto& [rows, first] : {std::pair<std::int64_t, std::int64_t>{16, -2}, {15, -1}}) {
    for (std::int64_t row = -3; row <= 3; ++row) {
      double largest = 0.0;
      for (const double value : to_host<double>(conv(wave(rows, 16, row, 1, 0.3)))) largest = std::max(largest, std::abs(value));
      EXPECT_EQ(largest > 1e-3, row >= first && row < first + 3) << rows << " rows, frequency " << row;
    }
  }
}

TEST(SpectralConv, ComplexFieldsKeepModesAroundZeroInEveryDimension) {
  SpectralConvConfig config = single({4, 6});
  config.complex_data = true;
  SpectralConv conv(config, Mesh());
  materialized(conv);
  const auto exponential = [](std::int64_t row, std::int64_t column) {
    const double quarter = std::numbers::pi / 2.0;
    return complex(wave(10, 12, row, column, 0.0), wave(10, 12, row, column, -quarter));
  };
  for (std::int64_t row = -3; row <= 3; ++row) {
    for (std::int64_t column = -4; column <= 4; ++column) {
      const Tensor z = exponential(row, column), y = conv(z);
      const bool kept = row >= -2 && row < 2 && column >= -3 && column < 3;
      const c128 factor = y.data<c128>()[0] / z.data<c128>()[0];
      EXPECT_EQ(std::abs(factor) > 1e-3, kept) << row << ", " << column;
      if (kept) {
        EXPECT_TENSOR_NEAR(y, z * from_values({1}, std::vector<c128>{factor}), 1e-12);
      }
    }
  }
}

TEST(SpectralConv, Gradients) {
  for (const Factorization factorization : {Factorization::dense, Factorization::tucker, Factorization::cp, Factorization::tt}) {
    SpectralConvConfig config{
        .in_channels = 2, .out_channels = 3, .n_modes = {4, 4}, .max_n_modes = {5, 4}, .factorization = factorization, .rank = 0.5};
    SpectralConv conv(config, Mesh());
    ParameterList parameters = materialized(conv, Use::training);
    const Tensor x = random_tensor({2, 2, 5, 4}, 3), weights = parameters.values();
    const auto value = [&](const Tensor& flat) {
      copy_into(weights, flat);
      const Tensor y = conv(x);
      return y * y;
    };
    // The parameters are leaves of their own: compare what they collect with differences along the flat buffer.
    const Tensor start = empty_like(weights), dy = random_tensor({2, 3, 5, 4}, 4);
    copy_into(start, weights);
    EXPECT_TRUE(gradcheck(
        [&](const auto& in) {
          const Recording on(true);
          return record("flat", value(in[0]).detached(), {in[0]}, [&, flat = in[0].detached()](const Tensor& gradient, Wanted) {
            parameters.zero_gradients();
            copy_into(weights, flat);
            const Recording again(true);
            const Tensor y = conv(x), energy = y * y;
            backward(record("weighted", full({1}, 0.0, DType::f64), {energy},
                            [gradient](const Tensor&, Wanted) { return std::vector{gradient}; }));
            const Tensor found = empty_like(weights);
            copy_into(found, parameters.gradients());
            return std::vector{found};
          });
        },
        {start}, {.tolerance = 1e-7}));
    copy_into(weights, start);
    EXPECT_TRUE(gradcheck(
        [&](const auto& in) {
          const Tensor y = conv(in[0], {6, 7});
          return y * y;
        },
        {x}));
  }
}

TEST(SpectralConv, RefusesWhatDoesNotFitTogether) {
  const auto refused = [](SpectralConvConfig config) { return message_of<ConfigError>([&] { SpectralConv(config, Mesh()); }); };
  EXPECT_EQ(refused({.in_channels = 2, .out_channels = 3, .n_modes = {4}, .separable = true}),
            "spectral convolution: model.separable keeps channels apart, but there are 2 in and 3 out; make them equal");
  EXPECT_NE(refused({.n_modes = {}}).find("model.n_modes has 0 numbers"), std::string::npos);
  EXPECT_NE(refused({.n_modes = {4, 0}}).find("at least 1"), std::string::npos);
  EXPECT_NE(refused({.n_modes = {4, 4}, .max_n_modes = {4, 2}}).find("holds 2 modes in dimension 1, but 3 are used"), std::string::npos);
  SpectralConvConfig ranks = config_of(Factorization::tucker);
  ranks.rank = std::vector<std::int64_t>{1, 2};
  EXPECT_NE(refused(ranks).find("model.rank: (1, 2)"), std::string::npos);
  ranks.rank = -0.5;
  EXPECT_NE(refused(ranks).find("model.rank: got -0.5"), std::string::npos);
  SpectralConv conv(config_of(Factorization::dense), Mesh());
  materialized(conv);
  EXPECT_THROW(conv(zeros({1, 2, 8, 8}, DType::f64)), ShapeError);
  EXPECT_THROW(conv(zeros({1, 3, 8, 8}, DType::c128)), ShapeError);
  EXPECT_THROW(conv(zeros({1, 3, 8, 8}, DType::f64), {8}), ShapeError);
}

TEST(ChooseRanks, AreTensorlysForSizesOfPublishedModels) {
  using Ranks = std::vector<std::int64_t>;
  const Shape large{64, 64, 64, 33}, small{24, 24, 16, 9};
  EXPECT_EQ(choose_ranks(large, Factorization::tucker, 0.1), (Ranks{36, 36, 36, 19}));
  EXPECT_EQ(choose_ranks(large, Factorization::tucker, 0.1, FirstRank::fixed), (Ranks{64, 30, 30, 15}));
  EXPECT_EQ(choose_ranks(large, Factorization::cp, 0.1), Ranks{3845});
  EXPECT_EQ(choose_ranks(large, Factorization::tt, 0.1), (Ranks{1, 87, 87, 66, 1}));
  EXPECT_EQ(choose_ranks(small, Factorization::tucker, 2.0, FirstRank::fixed), (Ranks{24, 30, 20, 11}));
  EXPECT_EQ(choose_ranks(small, Factorization::tucker, std::int64_t{3}, FirstRank::fixed), (Ranks{24, 3, 3, 3}));
  EXPECT_EQ(choose_ranks(small, Factorization::tt, std::int64_t{3}), (Ranks{1, 3, 3, 3, 1}));
  EXPECT_EQ(choose_ranks({5, 3, 9}, Factorization::cp, 0.01), Ranks{1});      // tensorly's 0 makes no layer
  EXPECT_EQ(choose_ranks({6, 5}, Factorization::tt, 2.0), (Ranks{1, 2, 1}));  // a matrix: a formula of its own
  EXPECT_EQ(choose_ranks({8, 9}, Factorization::tt, 0.8), (Ranks{1, 2, 1}));
}

TEST(SpectralWeight, CountsTheProductsWithItsFactors) {
  SpectralWeight::Description description{.shape = {2, 3, 4}};
  EXPECT_EQ(SpectralWeight(description, Mesh()).flops(5, {4}), 8.0 * 5 * 2 * 3 * 4);
  EXPECT_EQ(SpectralWeight(description, Mesh()).flops(5, {3}), 8.0 * 5 * 2 * 3 * 3);
  description.factorization = Factorization::tt;
  description.rank = std::vector<std::int64_t>{1, 2, 2, 1};
  description.contraction = Contraction::reconstructed;
  // (i, B) (B, o, C), then (i, o, C) (C, u), then with the field (b, i, u)
  EXPECT_EQ(SpectralWeight(description, Mesh()).flops(5, {4}), 8.0 * (2 * 2 * 3 * 2 + 2 * 3 * 2 * 4 + 5 * 2 * 3 * 4));
  description.contraction = Contraction::factorized;
  // Of one sample with one mode the field goes first: (b, i, u) (i, B), (b, u, B) (B, o, C), (C, u).
  EXPECT_EQ(SpectralWeight(description, Mesh()).flops(1, {1}), 8.0 * (2 * 2 + 2 * 2 + 2 * 3 * 2));
}

}  // namespace
}  // namespace trident
