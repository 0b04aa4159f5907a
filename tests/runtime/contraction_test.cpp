#include "runtime/ops/contraction.h"

#include <gtest/gtest.h>

#include <map>

#include "runtime/autograd/tape.h"
#include "runtime/error.h"
#include "runtime/ops/complex.h"
#include "runtime/ops/elementwise.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "tests/support/gradcheck.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_near.h"

namespace trident {
namespace {

using testing::gradcheck_on_every_device;
using testing::random_tensor;
using testing::strided_copy_of;

const std::map<char, std::int64_t> kExtents{{'a', 2}, {'b', 3}, {'c', 5}, {'d', 4},  {'e', 6}, {'f', 2},
                                            {'g', 3}, {'h', 7}, {'i', 2}, {'k', 19}, {'m', 37}};

Shape shape_of(const std::string& labels) {
  Shape shape;
  for (const char label : labels) shape.push_back(kExtents.at(label));
  return shape;
}

Operand random_operand(const std::string& labels, std::uint64_t seed) {
  return {complex(random_tensor(shape_of(labels), seed), random_tensor(shape_of(labels), seed + 100)), labels};
}

/// The definition: every product of all letters.
Tensor by_definition(const std::vector<Operand>& operands, const std::string& result) {
  std::string letters = result;
  for (const Operand& x : operands) {
    for (const char label : x.labels) {
      if (letters.find(label) == std::string::npos) letters += label;
    }
  }
  const Tensor y = zeros(shape_of(result), DType::c128);
  std::int64_t numbers = 1;
  for (const char label : letters) numbers *= kExtents.at(label);
  for (std::int64_t number = 0; number < numbers; ++number) {
    std::map<char, std::int64_t> at;
    std::int64_t rest = number;
    for (std::size_t i = letters.size(); i-- > 0;) {
      at[letters[i]] = rest % kExtents.at(letters[i]);
      rest /= kExtents.at(letters[i]);
    }
    const auto place = [&](const std::string& labels) {
      std::int64_t index = 0;
      for (const char label : labels) index = index * kExtents.at(label) + at[label];
      return index;
    };
    c128 product = 1.0;
    for (const Operand& x : operands) product *= x.tensor.data<c128>()[place(x.labels)];
    y.data<c128>()[place(result)] += product;
  }
  return y;
}

struct Case {
  std::vector<std::string> operands;
  std::string result;
};

const std::vector<Case> kPairs{
    {{"abm", "bem"}, "aem"},     // a matrix for every mode, whole vectors and a rest
    {{"akm", "kem"}, "aem"},     // with sums of several passes
    {{"abcd", "becd"}, "aecd"},  // modes in two dimensions
    {{"bam", "mbe"}, "aem"},     // in any order of dimensions
    {{"abcd", "bcd"}, "abcd"},   // each channel by itself
    {{"abcd", "be"}, "aecd"},    // one large product
    {{"be", "abcd"}, "cdea"},    // whose second tensor is the larger one
    {{"em", "hm"}, "eh"},        // long sums, side by side
    {{"ecm", "hcm"}, "eh"},      // in several runs
    {{"eh", "hm"}, "em"},        // and in its gradients
    {{"e", "be"}, "be"},        {{"abm", "abm"}, "m"}, {{"ab", "cd"}, "adcb"}, {{"abh", "hba"}, ""},  // all summed
};

TEST(Contraction, OfTwoIsTheDefinitionInAnyLayout) {
  for (const Case& c : kPairs) {
    const Operand a = random_operand(c.operands[0], 1), b = random_operand(c.operands[1], 2);
    const Tensor expected = by_definition({a, b}, c.result);
    EXPECT_TENSOR_NEAR(packed(contract(a, b, c.result)), expected, 1e-14) << c.operands[0] << " " << c.operands[1];
    const Operand left{strided_copy_of(a.tensor), a.labels}, right{strided_copy_of(b.tensor), b.labels};
    EXPECT_TENSOR_NEAR(packed(contract(left, right, c.result)), expected, 1e-14) << c.operands[0] << " " << c.operands[1];
  }
}

TEST(Contraction, AtEveryModeLiesAsItsResult) {
  const Operand x = random_operand("abm", 1), weight = random_operand("bem", 2);
  EXPECT_TRUE(contract(x, weight, "aem").is_contiguous());
  EXPECT_TRUE(contract(weight, x, "aem").is_contiguous());
}

TEST(Contraction, Gradients) {
  for (const Case& c : kPairs) {
    if (c.operands[0].find('m') != std::string::npos && c.result != "aem" && c.result != "em") continue;  // large ones, checked by others
    std::vector<Tensor> parts;
    for (std::uint64_t i = 0; i < 4; ++i) parts.push_back(random_tensor(shape_of(c.operands[i / 2]), i));
    const auto fn = [&](const auto& in) {
      const Tensor z = contract({complex(in[0], in[1]), c.operands[0]}, {complex(in[2], in[3]), c.operands[1]}, c.result);
      return real(z) * imag(z);
    };
    EXPECT_TRUE(gradcheck_on_every_device(fn, parts)) << c.operands[0] << " " << c.operands[1];
  }
}

TEST(Contraction, SumsOfThousandsAgreeInAnyLayout) {
  const Tensor a = complex(random_tensor({5, 9000}, 1), random_tensor({5, 9000}, 2)),
               b = complex(random_tensor({6, 9000}, 3), random_tensor({6, 9000}, 4));
  const auto product = [](const Tensor& x, const Tensor& y) { return packed(contract({x, "ak"}, {y, "bk"}, "ab")); };
  EXPECT_TENSOR_NEAR(product(a, b), product(strided_copy_of(a), strided_copy_of(b)), 1e-13);
}

TEST(Contraction, AddsTheGradientOfALeafToWhatItHas) {
  for (const Case& c : {Case{{"abm", "bem"}, "aem"}, {{"bam", "mbe"}, "aem"}}) {  // where the sum lies, and by way of a tensor
    const Operand a = random_operand(c.operands[0], 1), b = random_operand(c.operands[1], 2);
    const Tensor start = random_operand(c.operands[1], 3).tensor, sum = empty(start.shape(), start.dtype()),
                 dy = random_operand(c.result, 4).tensor;
    copy_into(sum, start);
    const Tensor weight = leaf(b.tensor, sum);
    const Tensor y = contract(a, {weight, b.labels}, c.result);
    const std::vector<Tensor> alone = gradients(y, dy, {weight});
    const Tensor again = contract(a, {weight, b.labels}, c.result);
    backward(record("start", full({1}, 0.0, DType::f64), {again}, [dy](const Tensor&, Wanted) { return std::vector{dy}; }));
    EXPECT_TENSOR_NEAR(sum, packed(start + alone[0]), 1e-14) << c.operands[1];
  }
}

const std::vector<Case> kMany{
    {{"abcd", "fghi", "bf", "eg", "ch", "di"}, "aecd"}, {{"abcd", "g", "bg", "eg", "cg", "dg"}, "aecd"},
    {{"abcd", "bf", "feg", "gch", "hd"}, "aecd"},       {{"abcd", "fhi", "bf", "ch", "di"}, "abcd"},
    {{"fghi", "bf", "eg", "ch", "di"}, "becd"},
};

TEST(Contraction, OfManyIsTheDefinition) {
  for (const Case& c : kMany) {
    std::vector<Operand> operands;
    for (const std::string& labels : c.operands) operands.push_back(random_operand(labels, operands.size()));
    EXPECT_TENSOR_NEAR(packed(contract(operands, c.result)), by_definition(operands, c.result), 1e-13) << c.operands[1];
  }
}

TEST(Contraction, OfManyWithoutModesIsAsLargeAsItsResult) {
  const auto operand = [](const Shape& shape, const std::string& labels) { return Operand{zeros(shape, DType::c128), labels}; };
  const std::vector<Operand> operands{operand({2, 3, 4, 5, 0}, "abcde"),
                                      operand({2, 2, 2, 2, 2}, "fghij"),
                                      operand({3, 2}, "bf"),
                                      operand({6, 2}, "kg"),
                                      operand({4, 2}, "ch"),
                                      operand({5, 2}, "di"),
                                      operand({0, 2}, "ej")};
  EXPECT_EQ(contract(operands, "akcde").shape(), (Shape{2, 6, 4, 5, 0}));
}

TEST(Contraction, RefusesWhatDoesNotFit) {
  const Operand a = random_operand("ab", 1);
  EXPECT_THROW(contract(a, random_operand("bc", 2), "d"), ShapeError);
  EXPECT_THROW(contract(a, {random_operand("cc", 2).tensor, "bc"}, "ac"), ShapeError);
  EXPECT_THROW(contract(a, random_operand("cd", 2), "ac"), ShapeError);
  EXPECT_THROW(contract(a, {real(a.tensor), "ab"}, "ab"), ShapeError);
  EXPECT_THROW(contract({a}, "ab"), ShapeError);
}

}  // namespace
}  // namespace trident
