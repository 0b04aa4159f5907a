#include "models/mg_tfno/mg_tfno.h"

#include <gtest/gtest.h>

#include "runtime/autograd/tape.h"
#include "runtime/error.h"
#include "runtime/ops/shape.h"
#include "runtime/tensor/create.h"
#include "tests/support/gradcheck.h"
#include "tests/support/random_tensor.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tensor_near.h"

namespace trident {
namespace {

using testing::random_tensor;

ConfigValue document(std::vector<ConfigValue::Entry> entries = {}) {
  ConfigValue result = ConfigValue::map({{"levels", 1},
                                         {"n_modes", ConfigValue::list({4, 4})},
                                         {"in_channels", 2},
                                         {"out_channels", 1},
                                         {"hidden_channels", 3},
                                         {"n_layers", 1},
                                         {"rank", 0.5}});
  for (auto& [key, value] : entries) result.set(key, value);
  return result;
}

struct Made {
  MgTfno model;
  ParameterList parameters;

  explicit Made(const ConfigValue& config, Use use = Use::inference) : model(config, Mesh()) {
    parameters = materialize([this](const ParameterVisitor& visitor) { model.visit(visitor); }, DType::f64, use, RandomKey(3));
  }
  Tensor operator()(const Tensor& input) const {
    Pass pass;
    pass.precision = DType::f64;
    return model.call({.input = input, .time = {}, .pixel_mask = {}, .label = {}}, {}, pass, nullptr);
  }
};

TEST(MgTfno, OperatorTakesTheChannelsOfAllLevels) {
  for (const auto& [position, channels] : {std::pair{"patch", 3 * 2 + 2}, std::pair{"field", 3 * (2 + 2)}, std::pair{"none", 3 * 2}}) {
    const Made made(document({{"levels", 2}, {"position", position}}));
    for (const NamedPiece& piece : made.parameters.pieces()) {
      if (piece.name == "lifting.fcs.0.weight") {
        EXPECT_EQ(piece.piece.full_shape[1], channels) << position;
      }
    }
    EXPECT_EQ(made.model.num_channels(), 2);
    EXPECT_EQ(made(random_tensor({2, 2, 32, 48}, 1)).shape(), (Shape{2, 1, 32, 48}));
  }
}

TEST(MgTfno, WithoutPositionalEmbeddingPatchesHaveNoPosition) {
  const MgTfno model(document({{"positional_embedding", ConfigValue()}}), Mesh());
  EXPECT_EQ(model.config().find("position")->as_string(), "none");
}

TEST(MgTfno, GradientOfTheFieldIsRight) {
  for (const char* position : {"patch", "field"}) {
    const Made made(document({{"in_channels", 1}, {"position", position}, {"padding_fraction", 0.1}, {"padding_mode", "edge"}}));
    EXPECT_TRUE(testing::gradcheck([&](const std::vector<Tensor>& v) { return made(v[0]); }, {random_tensor({1, 1, 8, 8}, 1)}));
  }
}

TEST(MgTfno, WithCoordinatesOfTheFieldPatchesKnowTheirPlace) {
  // A field of equal patches: only coordinates can tell them apart.
  const Tensor field = full({1, 2, 16, 16}, 1.0, DType::f64);
  const auto first_and_last = [&](const char* position) {
    const Tensor output = Made(document({{"position", position}}))(field);
    return std::pair{contiguous(slice(slice(output, 2, 0, 8), 3, 0, 8)), contiguous(slice(slice(output, 2, 8, 16), 3, 8, 16))};
  };
  const auto [a, b] = first_and_last("patch");
  EXPECT_TENSOR_NEAR(a, b, 0.0);
  const auto [c, d] = first_and_last("field");
  EXPECT_NE(to_host<double>(c), to_host<double>(d));
}

TEST(MgTfno, ConfigurationReadsBackAsItWasWritten) {
  const MgTfno model(document({{"padding_fraction", ConfigValue::list({0.1, 0.2})}, {"position", "field"}, {"stitching", false}}), Mesh());
  ConfigValue written = model.config();
  ConfigValue own = ConfigValue::map();
  for (const auto& [key, value] : written.entries()) {
    if (key != "type") own.set(key, value);
  }
  EXPECT_EQ(to_json(MgTfno(own, Mesh()).config()), to_json(written));
  EXPECT_FALSE(model.loss().patches->of_whole_fields);
}

TEST(MgTfno, RefusesWhatCannotBe) {
  const auto message = [](std::vector<ConfigValue::Entry> entries) {
    return testing::message_of<ConfigError>([&] { MgTfno(document(std::move(entries)), Mesh()); });
  };
  EXPECT_NE(message({{"levels", 4}}).find("model.levels"), std::string::npos);
  EXPECT_NE(message({{"levles", 1}}).find("levles"), std::string::npos);
  EXPECT_NE(message({{"padding_fraction", "x"}}).find("model.padding_fraction: expected a number, found \"x\""), std::string::npos);
  EXPECT_NE(message({{"padding_fraction", ConfigValue::list({0.1})}}).find("model.padding_fraction: expected a list of 2"),
            std::string::npos);
  EXPECT_NE(message({{"n_modes", ConfigValue::list({4})}}).find("two dimensions"), std::string::npos);
  EXPECT_NE(message({{"positional_embedding", ConfigValue()}, {"position", "patch"}}).find("position"), std::string::npos);
  const std::string misspelt = testing::message_of<ConfigError>([] { check_mg_tfno_keys(ConfigValue::map({{"levles", 1}})); });
  EXPECT_NE(misspelt.find("model.levles: unknown key; did you mean \"levels\"? allowed: levels"), std::string::npos) << misspelt;
  EXPECT_NE(misspelt.find("n_modes"), std::string::npos);
  const Made made(document());
  EXPECT_THROW(made(random_tensor({1, 1, 8, 8}, 1)), ShapeError);
  EXPECT_THROW(made(random_tensor({1, 2, 10, 8}, 1)), ConfigError);
}

}  // namespace
}  // namespace trident
