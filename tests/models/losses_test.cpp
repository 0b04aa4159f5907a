#include "models/losses.h"

#include <gtest/gtest.h>

#include <cmath>

#include "runtime/autograd/tape.h"
#include "runtime/error.h"
#include "runtime/ops/complex.h"
#include "runtime/ops/shape.h"
#include "runtime/tensor/create.h"
#include "tests/support/gradcheck.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_near.h"

namespace trident {
namespace {

using testing::random_tensor;

const LossDescription kGrouped{.p = 1, .groups = {{0, 1}, {1, 3}}};

TEST(Loss, IsTheMeanOverGroupsOfRelativeErrors) {
  const Tensor label = from_values<double>({1, 3, 1, 2}, std::vector{1.0, 3.0, 2.0, 2.0, 2.0, 2.0});
  const Tensor output = from_values<double>({1, 3, 1, 2}, std::vector{2.0, 3.0, 2.0, 4.0, 2.0, 2.0});
  const Loss loss(kGrouped, 3, LossScope::global, Mesh());
  EXPECT_NEAR(to_number(loss.share(output, label, loss.totals({&label, 1}))), (1.0 / 4.0 + 2.0 / 8.0) / 2.0, 1e-9);
}

TEST(Loss, WithoutGroupsIsTheMeanError) {
  const Tensor label = from_values<double>({1, 1, 1, 2}, std::vector{1.0, 3.0});
  const Tensor output = from_values<double>({1, 1, 1, 2}, std::vector{2.0, 6.0});
  const Loss absolute({.p = 1, .groups = {}}, 1, LossScope::global, Mesh()), squared({.p = 2, .groups = {}}, 1, LossScope::global, Mesh());
  EXPECT_DOUBLE_EQ(to_number(absolute.share(output, label, absolute.totals({&label, 1}))), 2.0);
  EXPECT_DOUBLE_EQ(to_number(squared.share(output, label, squared.totals({&label, 1}))), 5.0);
}

TEST(Loss, SharesOfUnevenMicroBatchesSumToTheLossOfTheWholeBatch) {
  const Tensor label = random_tensor({5, 3, 4, 4}, 1), output = random_tensor({5, 3, 4, 4}, 2);
  for (const int p : {1, 2}) {
    const Loss loss({.p = p, .groups = kGrouped.groups}, 3, LossScope::global, Mesh());
    const double whole = to_number(loss.share(output, label, loss.totals({&label, 1})));
    const std::vector<Tensor> labels{contiguous(slice(label, 0, 0, 4)), contiguous(slice(label, 0, 4, 5)),
                                     contiguous(slice(label, 0, 5, 5))};
    const LossTotals totals = loss.totals(labels);
    double sum = 0.0;
    std::int64_t first = 0;
    for (const Tensor& part : labels) {
      sum += to_number(loss.share(contiguous(slice(output, 0, first, first + part.size(0))), part, totals));
      first += part.size(0);
    }
    EXPECT_NEAR(sum, whole, 1e-14);
  }
}

TEST(Loss, PerRankIsTheMeanOfTheMicroBatchesOwnRatios) {
  const Tensor label = random_tensor({2, 3, 4, 4}, 1), output = random_tensor({2, 3, 4, 4}, 2);
  const Loss loss(kGrouped, 3, LossScope::per_rank, Mesh()), whole(kGrouped, 3, LossScope::global, Mesh());
  const std::vector<Tensor> labels{contiguous(slice(label, 0, 0, 1)), contiguous(slice(label, 0, 1, 2))};
  const LossTotals totals = loss.totals(labels);
  double sum = 0.0, mean = 0.0;
  for (std::int64_t i = 0; i < 2; ++i) {
    const Tensor part = contiguous(slice(output, 0, i, i + 1));
    sum += to_number(loss.share(part, labels[static_cast<std::size_t>(i)], totals));
    mean +=
        to_number(whole.share(part, labels[static_cast<std::size_t>(i)], whole.totals({&labels[static_cast<std::size_t>(i)], 1}))) / 2.0;
  }
  EXPECT_NEAR(sum, mean, 1e-14);
}

TEST(Loss, GradientIsRight) {
  const Tensor label = random_tensor({2, 3, 2, 2}, 1);
  const Loss loss({.p = 2, .groups = kGrouped.groups}, 3, LossScope::global, Mesh());
  const LossTotals totals = loss.totals({&label, 1});
  EXPECT_TRUE(
      testing::gradcheck([&](const std::vector<Tensor>& v) { return loss.share(v[0], label, totals); }, {random_tensor({2, 3, 2, 2}, 2)}));
}

const NormLoss kH1{.kind = NormKind::h1, .axes = 2, .periodic = {true, false}};

LossDescription of_norms(NormLoss norm, Reduction reduction = Reduction::sum) {
  norm.reduction = reduction;
  return {.norm = norm};
}

TEST(Loss, OfNormsIsTheSumOverSamplesAndChannelsOfRelativeNorms) {
  const Tensor label = from_values<double>({2, 1, 1, 2}, std::vector{3.0, 4.0, 0.0, 2.0});
  const Tensor output = from_values<double>({2, 1, 1, 2}, std::vector{3.0, 5.0, 3.0, 6.0});
  const double sum_of_ratios = 1.0 / 5.0 + 5.0 / 2.0;
  for (const Reduction reduction : {Reduction::sum, Reduction::mean}) {
    const Loss loss(of_norms({.axes = 2}, reduction), 1, LossScope::global, Mesh());
    const double expected = reduction == Reduction::sum ? sum_of_ratios : sum_of_ratios / 2.0;
    EXPECT_NEAR(to_number(loss.share(output, label, loss.totals({&label, 1}))), expected, 1e-7);
  }
}

TEST(Loss, OfNormsOverSomeSpaceAxesIsTheMeanOverAllTerms) {
  const Tensor label = random_tensor({2, 3, 5, 4}, 1), output = random_tensor({2, 3, 5, 4}, 2);
  const NormLoss norm{.axes = 1, .reduction = Reduction::mean};
  const Loss loss({.norm = norm}, 3, LossScope::global, Mesh());
  EXPECT_NEAR(to_number(loss.share(output, label, loss.totals({&label, 1}))), to_number(norm_loss(norm, output, label)), 1e-14);
}

TEST(Loss, OfNormsIsTheSumOverMicroBatches) {
  const Tensor label = random_tensor({5, 2, 4, 6}, 1), output = random_tensor({5, 2, 4, 6}, 2);
  for (const Reduction reduction : {Reduction::sum, Reduction::mean}) {
    const Loss loss(of_norms(kH1, reduction), 2, LossScope::global, Mesh());
    const double whole = to_number(loss.share(output, label, loss.totals({&label, 1})));
    const std::vector<Tensor> labels{slice(label, 0, 0, 3), slice(label, 0, 3, 5), slice(label, 0, 5, 5)};
    const std::vector<Tensor> outputs{slice(output, 0, 0, 3), slice(output, 0, 3, 5), slice(output, 0, 5, 5)};
    const LossTotals totals = loss.totals(labels);
    double sum = 0.0;
    for (std::size_t part = 0; part < labels.size(); ++part) sum += to_number(loss.share(outputs[part], labels[part], totals));
    EXPECT_NEAR(sum, whole, 1e-13);
  }
}

TEST(Loss, OfNormsHasTheRightGradient) {
  const Tensor label = random_tensor({2, 1, 5, 4}, 1);
  for (const NormLoss& norm : {kH1, NormLoss{.axes = 2, .p = 3.0}, NormLoss{.axes = 1, .p = 2.0, .relation = Relation::absolute}}) {
    const Loss loss({.norm = norm}, 1, LossScope::global, Mesh());
    const LossTotals totals = loss.totals({&label, 1});
    EXPECT_TRUE(testing::gradcheck([&](const std::vector<Tensor>& v) { return loss.share(v[0], label, totals); },
                                   {random_tensor({2, 1, 5, 4}, 2)}));
  }
}

TEST(Loss, OfAPerfectPredictionIsNoSourceOfNaN) {
  const Tensor label = random_tensor({1, 1, 4, 4}, 1), output = leaf(label);
  const Loss loss({.norm = kH1}, 1, LossScope::global, Mesh());
  const Tensor share = loss.share(output, label, loss.totals({&label, 1}));
  backward(share);
  EXPECT_EQ(to_number(share), 0.0);
  EXPECT_TENSOR_NEAR(gradient_of(output), zeros_like(label), 0.0);
}

TEST(Loss, RefusesNormsPerRank) { EXPECT_THROW(Loss({.norm = kH1}, 1, LossScope::per_rank, Mesh()), ConfigError); }

TEST(Loss, RefusesGroupsPastTheChannels) { EXPECT_THROW(Loss(kGrouped, 2, LossScope::global, Mesh()), ConfigError); }

TEST(Loss, OfFieldsOfOneAndThreeDimensionsIsThatOfTheSameNumbersInTwo) {
  const Tensor label = random_tensor({2, 3, 2, 12}, 1), output = random_tensor({2, 3, 2, 12}, 2);
  for (const int p : {1, 2}) {
    const Loss loss({.p = p, .groups = kGrouped.groups}, 3, LossScope::global, Mesh());
    const double expected = to_number(loss.share(output, label, loss.totals({&label, 1})));
    for (const Shape& shape : {Shape{2, 3, 24}, Shape{2, 3, 2, 3, 4}}) {
      const Tensor same = reshape(label, shape);
      EXPECT_NEAR(to_number(loss.share(reshape(output, shape), same, loss.totals({&same, 1}))), expected, 1e-15);
    }
  }
}

/// Losses of complex fields by hand: one sample, one channel, the error (3 + 4i, 0), the label (5, 12i).
double complex_loss(const LossDescription& description, const Shape& shape = {1, 1, 2}) {
  const Tensor label = reshape(from_values<c128>({2}, std::vector<c128>{{5, 0}, {0, 12}}), shape);
  const Tensor output = reshape(from_values<c128>({2}, std::vector<c128>{{8, 4}, {0, 12}}), shape);
  const Loss loss(description, 1, LossScope::global, Mesh());
  return to_number(loss.share(output, label, loss.totals({&label, 1})));
}

TEST(Loss, OfComplexFieldsMeasuresMagnitudes) {
  EXPECT_NEAR(complex_loss({.p = 1, .groups = {{0, 1}}}), 5.0 / 17.0, 1e-9);
  EXPECT_NEAR(complex_loss({.p = 2, .groups = {{0, 1}}}), 25.0 / 169.0, 1e-9);
  EXPECT_NEAR(complex_loss({.norm = NormLoss{.kind = NormKind::lp, .axes = 1, .p = 2.0}}), 5.0 / 13.0, 1e-8);
  EXPECT_NEAR(complex_loss({.norm = NormLoss{.kind = NormKind::lp, .axes = 1, .p = 1.0}}), 5.0 / 17.0, 1e-8);
  EXPECT_NEAR(complex_loss({.norm = NormLoss{.kind = NormKind::lp, .axes = 2, .p = 3.0}}, {1, 1, 2, 1}),
              std::cbrt(125.0) / std::cbrt(125.0 + 1728.0), 1e-8);
}

TEST(Loss, OfComplexFieldsHasGradientsOfBothParts) {
  const Tensor label = complex(random_tensor({2, 1, 4}, 1), random_tensor({2, 1, 4}, 2));
  for (const NormKind kind : {NormKind::lp, NormKind::h1}) {
    const Loss loss({.norm = NormLoss{.kind = kind, .axes = 1}}, 1, LossScope::global, Mesh());
    const LossTotals totals = loss.totals({&label, 1});
    EXPECT_TRUE(testing::gradcheck([&](const auto& in) { return loss.share(complex(in[0], in[1]), label, totals); },
                                   {random_tensor({2, 1, 4}, 3), random_tensor({2, 1, 4}, 4)}));
  }
}

}  // namespace
}  // namespace trident
