#include "models/model_description.h"

#include <gtest/gtest.h>

namespace trident {
namespace {

TEST(ModelDescription, SurvivesItsDocument) {
  Problem own = find_problem("NS-Sines");
  own.name = "mine";
  own.output[1].mean = 0.1 + 0.2;
  const std::string text = to_json(write_config(ModelDescription{{own, find_problem("CE-RP")}}));
  const ModelDescription read = read_model_description(parse_json(text, "trident.json"));
  EXPECT_EQ(read.problems.size(), 2u);
  EXPECT_EQ(problem_named(read, "mine").output[1].mean, 0.1 + 0.2);
  EXPECT_EQ(to_json(write_config(read)), text);
}

TEST(ModelDescription, OfAModelWithoutOneTheTableCounts) {
  const ModelDescription none = {};
  EXPECT_EQ(problem_named(none, "NS-Sines").name, "NS-Sines");
  EXPECT_THROW(problem_named(none, "mine"), ConfigError);
}

TEST(ModelDescription, AnUnknownProblemIsAnErrorThatListsTheModelsOwn) {
  Problem own = find_problem("NS-Sines");
  own.name = "mine";
  try {
    problem_named(ModelDescription{{own}}, "yours");
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_NE(std::string(error.what()).find("the model was trained on mine"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace trident
