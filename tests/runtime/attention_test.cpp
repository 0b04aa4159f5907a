#include "runtime/ops/attention.h"

#include <algorithm>
#include <cmath>

#include "runtime/autograd/tape.h"
#include "runtime/device/threads.h"
#include "runtime/error.h"
#include "runtime/ops/elementwise.h"
#include "runtime/ops/reduce.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"
#include "tests/support/gradcheck.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_near.h"

namespace trident {
namespace {

using testing::as_f32;
using testing::as_f64;
using testing::gradcheck_on_every_device;
using testing::random_tensor;

struct Case {
  std::int64_t batch, ny, nx, heads, head_size;
  WindowGrid grid;

  std::int64_t side() const { return 2 * grid.window - 1; }
  Tensor qkv(std::uint64_t seed) const { return random_tensor({batch, ny, nx, 3, heads, head_size}, seed); }
  Tensor logit_scale(std::uint64_t seed) const { return random_tensor({heads}, seed); }
  Tensor position_bias(std::uint64_t seed) const { return random_tensor({heads, side() * side()}, seed); }
};

int region(std::int64_t i, std::int64_t extent, const WindowGrid& grid) {
  return i < extent - grid.window ? 0 : i < extent - grid.mask_shift ? 1 : 2;
}

/// The definition, one query and one key at a time, on the rolled grid.
class Naive {
 public:
  Naive(const Case& c, const Tensor& qkv, const Tensor& logit_scale, const Tensor& position_bias)
      : case_(c), qkv_(to_host<double>(qkv)), scale_(to_host<double>(logit_scale)), bias_(to_host<double>(position_bias)) {}

  Tensor operator()() const {
    std::vector<double> y(static_cast<std::size_t>(case_.batch * case_.ny * case_.nx * case_.heads * case_.head_size));
    for (std::int64_t b = 0; b < case_.batch; ++b) {
      for (std::int64_t row = 0; row < case_.ny; ++row) {
        for (std::int64_t column = 0; column < case_.nx; ++column) {
          for (std::int64_t head = 0; head < case_.heads; ++head) query(b, row, column, head, y);
        }
      }
    }
    return from_values({case_.batch, case_.ny, case_.nx, case_.heads * case_.head_size}, y);
  }

 private:
  std::int64_t token(std::int64_t b, std::int64_t row, std::int64_t column) const {
    return (b * case_.ny + (row + case_.grid.roll) % case_.ny) * case_.nx + (column + case_.grid.roll) % case_.nx;
  }
  const double* at(std::int64_t token, int part, std::int64_t head) const {
    return qkv_.data() + ((token * 3 + part) * case_.heads + head) * case_.head_size;
  }
  double norm(const double* x) const {
    double sum = 0;
    for (std::int64_t c = 0; c < case_.head_size; ++c) sum += x[c] * x[c];
    return std::max(std::sqrt(sum), 1e-12);
  }
  double score(const double* q, const double* k, std::int64_t head) const {
    double dot = 0;
    for (std::int64_t c = 0; c < case_.head_size; ++c) dot += q[c] * k[c];
    return dot / norm(q) / norm(k) * std::exp(std::min(scale_[static_cast<std::size_t>(head)], std::log(100.0)));
  }
  /// Of a key so many rows and columns behind its query.
  double bias(std::int64_t head, std::int64_t rows, std::int64_t columns) const {
    const std::int64_t w = case_.grid.window, side = case_.side();
    return bias_[static_cast<std::size_t>((head * side + rows + w - 1) * side + columns + w - 1)];
  }
  double mask(std::int64_t row, std::int64_t column, std::int64_t key_row, std::int64_t key_column) const {
    const WindowGrid& g = case_.grid;
    if (g.mask_shift == 0) return 0;
    const bool same = region(g.first_row + row, g.global_rows, g) == region(g.first_row + key_row, g.global_rows, g) &&
                      region(g.first_column + column, g.global_columns, g) == region(g.first_column + key_column, g.global_columns, g);
    return same ? 0 : -200;
  }

  void query(std::int64_t b, std::int64_t row, std::int64_t column, std::int64_t head, std::vector<double>& y) const {
    const std::int64_t w = case_.grid.window, top = row / w * w, left = column / w * w;
    const std::int64_t own = (row - top) * w + column - left;
    std::vector<double> p;
    double total = 0;
    for (std::int64_t i = 0; i < w * w; ++i) {
      const double s = score(at(token(b, row, column), 0, head), at(token(b, top + i / w, left + i % w), 1, head), head) +
                       bias(head, i / w - own / w, i % w - own % w) + mask(row, column, top + i / w, left + i % w);
      p.push_back(std::exp(s));
      total += p.back();
    }
    double* target = y.data() + (token(b, row, column) * case_.heads + head) * case_.head_size;
    for (std::int64_t i = 0; i < w * w; ++i) {
      const double* v = at(token(b, top + i / w, left + i % w), 2, head);
      for (std::int64_t c = 0; c < case_.head_size; ++c) target[c] += p[static_cast<std::size_t>(i)] / total * v[c];
    }
  }

  const Case& case_;
  std::vector<double> qkv_, scale_, bias_;
};

const std::vector<Case>& cases() {
  static const std::vector<Case> all{
      {.batch = 2, .ny = 2, .nx = 4, .heads = 2, .head_size = 3, .grid = {.window = 2}},
      {.batch = 1, .ny = 10, .nx = 5, .heads = 2, .head_size = 8, .grid = {.window = 5}},
      {.batch = 2,
       .ny = 8,
       .nx = 8,
       .heads = 3,
       .head_size = 16,
       .grid = {.window = 4, .roll = 2, .mask_shift = 2, .global_rows = 8, .global_columns = 8}},
      {.batch = 1,
       .ny = 8,
       .nx = 4,
       .heads = 1,
       .head_size = 5,
       .grid = {.window = 4, .roll = 0, .mask_shift = 1, .first_row = 4, .first_column = 8, .global_rows = 12, .global_columns = 12}},
      {.batch = 1,
       .ny = 14,
       .nx = 14,
       .heads = 1,
       .head_size = 33,
       .grid = {.window = 7, .roll = 3, .mask_shift = 3, .global_rows = 14, .global_columns = 14}}};
  return all;
}

TEST(WindowAttention, OfOneTokenIsItsValue) {
  const Tensor qkv = random_tensor({1, 2, 1, 3, 1, 4}, 1);
  const Tensor y = window_attention(qkv, random_tensor({1}, 2), random_tensor({1, 1}, 3), {.window = 1});
  EXPECT_TENSOR_NEAR(y, view::reshape(packed(view::slice(qkv, 3, 2, 3)), {1, 2, 1, 4}), 1e-15);
}

TEST(WindowAttention, OfEqualScoresAveragesTheWindow) {
  const Tensor two = from_values<double>({1, 2, 2, 3, 1, 1}, {1, 1, 1, 1, 1, 2, 1, 1, 3, 1, 1, 6});
  const Tensor y = window_attention(two, zeros({1}, DType::f64), zeros({1, 9}, DType::f64), {.window = 2});
  EXPECT_TENSOR_NEAR(y, full({1, 2, 2, 1}, 3.0, DType::f64), 1e-15);
}

TEST(WindowAttention, AgreesWithItsDefinitionInBothNumberTypes) {
  for (const Case& c : cases()) {
    const Tensor qkv = c.qkv(1), scale = c.logit_scale(2), bias = c.position_bias(3), expected = Naive(c, qkv, scale, bias)();
    EXPECT_TENSOR_NEAR(window_attention(qkv, scale, bias, c.grid), expected, 1e-13);
    EXPECT_TENSOR_NEAR(as_f64(window_attention(as_f32(qkv), as_f32(scale), as_f32(bias), c.grid)), expected, 2e-6);
  }
}

TEST(WindowAttention, RoundsFewProductsOnceAndManyWithinTheirSums) {
  // One rounding is 2.5e-8 in the 2-norm.
  for (const auto& [batch, tolerance] : {std::pair{std::int64_t{1}, 3e-8}, {std::int64_t{8}, 1e-6}}) {
    const Case c{batch, 8, 8, 2, 12, {.window = 4, .roll = 2, .mask_shift = 2, .global_rows = 8, .global_columns = 8}};
    const Tensor qkv = as_f32(c.qkv(1)), scale = as_f32(c.logit_scale(2)), bias = as_f32(c.position_bias(3));
    EXPECT_TENSOR_NEAR(as_f64(window_attention(qkv, scale, bias, c.grid)),
                       window_attention(as_f64(qkv), as_f64(scale), as_f64(bias), c.grid), tolerance);
  }
}

TEST(WindowAttention, TakesNothingAtAllFromAnotherRegion) {
  // Every token is a region of its own. In f32 a probability of 1e-38 would still pass on what is as large as 1e38.
  const WindowGrid grid{.window = 2, .mask_shift = 1, .global_rows = 2, .global_columns = 2};
  const Tensor qkv = as_f32(random_tensor({1, 2, 2, 3, 1, 4}, 1));
  qkv.data<float>()[2 * 4] = 1e38F;  // of the first token's v
  const Tensor y = window_attention(qkv, as_f32(random_tensor({1}, 2)), as_f32(random_tensor({1, 9}, 3)), grid);
  EXPECT_TENSOR_NEAR(y, view::reshape(packed(view::slice(qkv, 3, 2, 3)), {1, 2, 2, 4}), 0);
}

TEST(WindowAttention, HasTheGradientsOfAllItsOperands) {
  const std::vector<Case> small{{.batch = 2, .ny = 2, .nx = 4, .heads = 2, .head_size = 3, .grid = {.window = 2}},
                                {.batch = 1,
                                 .ny = 6,
                                 .nx = 6,
                                 .heads = 1,
                                 .head_size = 2,
                                 .grid = {.window = 3, .roll = 1, .mask_shift = 1, .global_rows = 6, .global_columns = 6}},
                                {.batch = 1, .ny = 5, .nx = 5, .heads = 1, .head_size = 2, .grid = {.window = 5}}};
  for (const Case& c : small) {
    const auto fn = [&c](const std::vector<Tensor>& x) { return window_attention(x[0], x[1], x[2], c.grid); };
    EXPECT_TRUE(gradcheck_on_every_device(fn, {c.qkv(1), c.logit_scale(2), c.position_bias(3)}));
    const auto dropped = [&c](const std::vector<Tensor>& x) {
      return window_attention(x[0], x[1], x[2], c.grid, {.probability = 0.3, .key = RandomKey(5)});
    };
    EXPECT_TRUE(gradcheck_on_every_device(dropped, {c.qkv(1), c.logit_scale(2), c.position_bias(3)}));
  }
}

TEST(WindowAttention, PassesNoGradientToACappedScale) {
  const Case c = cases()[0];
  const Tensor scale = leaf(full({2}, 5.0, DType::f64));  // above ln 100
  const Tensor y = window_attention(c.qkv(1), scale, c.position_bias(3), c.grid);
  EXPECT_TENSOR_NEAR(gradients(y, random_tensor(y.shape(), 4), {scale})[0], zeros({2}, DType::f64), 0);
  EXPECT_TENSOR_NEAR(y.detached(), window_attention(c.qkv(1), full({2}, std::log(100.0), DType::f64), c.position_bias(3), c.grid), 1e-14);
}

TEST(WindowAttention, GivesAKeyOfZerosTheExactSteepGradient) {
  // k / max(|k|, 1e-12) has the slope 1e12 at 0.
  const Case c = cases()[0];
  const Tensor qkv = c.qkv(1);
  qkv.data<double>()[2 * 3 + 0] = qkv.data<double>()[2 * 3 + 1] = qkv.data<double>()[2 * 3 + 2] = 0.0;  // k of token 0, head 0
  const Tensor input = leaf(qkv), bias = c.position_bias(3), scale = c.logit_scale(2);
  const Tensor y = window_attention(input, scale, bias, c.grid), dy = random_tensor(y.shape(), 4);
  const Tensor gradient = gradients(y, dy, {input})[0];
  const auto value = [&](double k) {
    qkv.data<double>()[2 * 3] = k;
    const auto out = to_host<double>(window_attention(qkv, scale, bias, c.grid)), weight = to_host<double>(dy);
    double sum = 0;
    for (std::size_t i = 0; i < out.size(); ++i) sum += out[i] * weight[i];
    return sum;
  };
  const double slope = (value(1e-14) - value(-1e-14)) / 2e-14;
  EXPECT_NEAR(gradient.data<double>()[2 * 3] / slope, 1.0, 1e-4);
}

TEST(WindowAttention, SumsTheBiasGradientTheSameOnEveryNumberOfThreads) {
  const Case c{.batch = 3, .ny = 8, .nx = 8, .heads = 3, .head_size = 4, .grid = {.window = 4}};
  const int before = num_threads();
  std::vector<Tensor> results;
  for (const int threads : {1, 2, 5}) {
    set_num_threads(threads);
    const Tensor bias = leaf(c.position_bias(3));
    const Tensor y = window_attention(c.qkv(1), c.logit_scale(2), bias, c.grid);
    results.push_back(gradients(y, random_tensor(y.shape(), 4), {bias})[0]);
  }
  set_num_threads(before);
  EXPECT_TENSOR_NEAR(results[1], results[0], 0);
  EXPECT_TENSOR_NEAR(results[2], results[0], 0);
}

TEST(WindowAttention, DropsByGlobalPlaceWhateverTheSplit) {
  const WindowGrid whole{.window = 2}, lower{.window = 2, .first_row = 2};
  const Tensor qkv = random_tensor({2, 4, 4, 3, 2, 3}, 1), scale = random_tensor({2}, 2), bias = random_tensor({2, 9}, 3);
  const AttentionDropout dropout{.probability = 0.5, .key = RandomKey(9)};
  const Tensor all = window_attention(qkv, scale, bias, whole, dropout);
  AttentionDropout second = dropout;
  second.first_sample = 1;
  EXPECT_TENSOR_NEAR(window_attention(view::slice(qkv, 0, 1, 2), scale, bias, whole, second), view::slice(all, 0, 1, 2), 0);
  EXPECT_TENSOR_NEAR(window_attention(view::slice(qkv, 1, 2, 4), scale, bias, lower, dropout), view::slice(all, 1, 2, 4), 0);
  second = dropout;
  second.first_head = 1;
  const Tensor head = window_attention(view::slice(qkv, 4, 1, 2), view::slice(scale, 0, 1, 2), view::slice(bias, 0, 1, 2), whole, second);
  EXPECT_TENSOR_NEAR(head, view::slice(all, 3, 3, 6), 0);
}

TEST(WindowAttention, TakesAnEmptyBatch) {
  const Tensor qkv = leaf(zeros({0, 2, 2, 3, 1, 4}, DType::f32)), bias = leaf(zeros({1, 9}, DType::f32));
  const Tensor y = window_attention(qkv, zeros({1}, DType::f32), bias, {.window = 2});
  EXPECT_EQ(y.shape(), (Shape{0, 2, 2, 4}));
  EXPECT_TENSOR_NEAR(gradients(y, y.detached(), {bias})[0], zeros({1, 9}, DType::f32), 0);
}

TEST(WindowAttention, NamesTheNumbersThatDoNotFit) {
  const Tensor scale = zeros({2}, DType::f32), bias = zeros({2, 25}, DType::f32);
  try {
    window_attention(zeros({1, 4, 6, 3, 2, 4}, DType::f32), scale, bias, {.window = 3});
    FAIL();
  } catch (const ShapeError& error) {
    EXPECT_NE(std::string(error.what()).find("4 x 6 tokens does not divide into windows of 3 x 3"), std::string::npos) << error.what();
  }
  const Tensor qkv = zeros({1, 3, 6, 3, 2, 4}, DType::f32);
  EXPECT_THROW(window_attention(zeros({1, 3, 6, 2, 2, 4}, DType::f32), scale, bias, {.window = 3}), ShapeError);
  EXPECT_THROW(window_attention(qkv, zeros({3}, DType::f32), bias, {.window = 3}), ShapeError);
  EXPECT_THROW(window_attention(qkv, scale, zeros({2, 9}, DType::f32), {.window = 3}), ShapeError);
  EXPECT_THROW(window_attention(qkv, scale, zeros({2, 25}, DType::f64), {.window = 3}), ShapeError);
  EXPECT_THROW(window_attention(qkv, scale, bias, {.window = 3, .mask_shift = 1, .global_rows = 3, .global_columns = 3}), ShapeError);
}

TEST(WindowAttention, AddsItsGradientsWhereParametersCollectThem) {
  const Case c = cases()[0];
  const Tensor scale = leaf(view::reshape(c.logit_scale(2), {2, 1, 1}), full({2, 1, 1}, 100.0, DType::f64)),
               bias = leaf(c.position_bias(3), full({2, 9}, 100.0, DType::f64));
  const Tensor y = window_attention(c.qkv(1), scale, bias, c.grid), dy = random_tensor(y.shape(), 4);
  const std::vector<Tensor> expected = gradients(window_attention(c.qkv(1), scale, bias, c.grid), dy, {scale, bias});
  backward(sum(y * dy));
  EXPECT_TENSOR_NEAR(gradient_of(scale) - full({2, 1, 1}, 100.0, DType::f64), expected[0], 1e-13);
  EXPECT_TENSOR_NEAR(gradient_of(bias) - full({2, 9}, 100.0, DType::f64), expected[1], 1e-13);
}

}  // namespace
}  // namespace trident
