#include "runtime/config.h"

#include <gtest/gtest.h>

#include <cmath>

namespace trident {
namespace {

enum class Schedule { cosine, step };
auto config_names(Schedule) { return std::array{std::pair{Schedule::cosine, "cosine"}, std::pair{Schedule::step, "step"}}; }

struct Training {
  int steps = 10;
  double learning_rate = 5e-4;
  std::optional<double> max_grad_norm = 5.0;
  Schedule schedule = Schedule::cosine;
  std::array<double, 2> betas{0.9, 0.999};
  std::vector<std::string> freeze;
  bool shuffle = true;
  static void visit(auto& self, auto& v) {
    v("steps", self.steps);
    v("learning_rate", self.learning_rate);
    v("max_grad_norm", self.max_grad_norm);
    v("schedule", self.schedule);
    v("betas", self.betas);
    v("freeze", self.freeze);
    v("shuffle", self.shuffle);
  }
};

struct Document {
  std::uint64_t seed = 0;
  Training training;
  ConfigValue model;
  static void visit(auto& self, auto& v) {
    v("seed", self.seed);
    v("training", self.training);
    v("model", self.model);
  }
};

template <class Function>
std::string message_of(Function function) {
  try {
    function();
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}

std::string reading(const std::string& text) {
  return message_of([&] { read_config<Document>(parse_yaml(text, "run.yaml")); });
}

TEST(Config, ReadsEveryKindOfFieldFromYaml) {
  const Document run = read_config<Document>(
      parse_yaml("seed: 7\nmodel: {type: scot}\ntraining:\n  steps: 3\n  learning_rate: 1e-3\n  max_grad_norm: null\n  schedule: step\n"
                 "  betas: [0.8, 1]\n  freeze: [a.*, 'b']\n  shuffle: false\n",
                 "run.yaml"));
  EXPECT_EQ(run.seed, 7u);
  EXPECT_EQ(run.model.find("type")->as_string(), "scot");
  EXPECT_EQ(run.training.steps, 3);
  EXPECT_EQ(run.training.learning_rate, 1e-3);
  EXPECT_FALSE(run.training.max_grad_norm.has_value());
  EXPECT_EQ(run.training.schedule, Schedule::step);
  EXPECT_EQ(run.training.betas, (std::array{0.8, 1.0}));
  EXPECT_EQ(run.training.freeze, (std::vector<std::string>{"a.*", "b"}));
  EXPECT_FALSE(run.training.shuffle);
}

TEST(Config, KeysThatAreNotGivenKeepTheirDefaults) {
  const Document run = read_config<Document>(parse_yaml("training: {steps: 3}", "run.yaml"));
  EXPECT_EQ(run.training.learning_rate, 5e-4);
  EXPECT_EQ(run.training.max_grad_norm, 5.0);
}

TEST(Config, AnUnknownKeyNamesTheLineTheNearestKeyAndAllThatAreAllowed) {
  EXPECT_EQ(reading("seed: 1\ntraining:\n  steps: 3\n  learning_rte: 1\n"),
            "run.yaml:4: training.learning_rte: unknown key; did you mean \"learning_rate\"? "
            "allowed: steps, learning_rate, max_grad_norm, schedule, betas, freeze, shuffle");
  EXPECT_EQ(reading("zzzzzzzzzzzz: 1"), "run.yaml:1: zzzzzzzzzzzz: unknown key; allowed: seed, training, model");
}

TEST(Config, AWrongTypeNamesTheLineTheFullKeyWhatWasExpectedAndFound) {
  EXPECT_EQ(reading("\ntraining:\n  steps: many"), "run.yaml:3: training.steps: expected a whole number, found \"many\"");
  EXPECT_EQ(reading("training: {steps: 1.5}"), "run.yaml:1: training.steps: expected a whole number, found 1.5");
  EXPECT_EQ(reading("training: {steps: null}"), "run.yaml:1: training.steps: expected a whole number, found null");
  EXPECT_EQ(reading("training: {steps: 3000000000}"),
            "run.yaml:1: training.steps: expected a whole number from -2147483648 to 2147483647, found 3000000000");
  EXPECT_EQ(reading("training: {steps: 9223372036854775808}"),
            "run.yaml:1: training.steps: expected a whole number from -2147483648 to 2147483647, found 9223372036854775808");
  EXPECT_EQ(message_of([] { parse_yaml("9223372036854775808", "a.yaml").as_integer(); }),
            "a.yaml:1: expected a whole number below 2^63, found 9223372036854775808");
  EXPECT_EQ(reading("seed: -1"), "run.yaml:1: seed: expected a whole number from 0 to 18446744073709551615, found -1");
  EXPECT_EQ(reading("training: {learning_rate: '1e-3'}"), "run.yaml:1: training.learning_rate: expected a number, found \"1e-3\"");
  EXPECT_EQ(reading("training: {shuffle: yes}"), "run.yaml:1: training.shuffle: expected true or false, found \"yes\"");
  EXPECT_EQ(reading("training:\n  betas:\n  - 0.9\n"), "run.yaml:3: training.betas: expected a list of 2, found a list of 1");
  EXPECT_EQ(reading("training:\n  freeze:\n  - a\n  - 2\n"), "run.yaml:4: training.freeze[1]: expected text, found 2");
  EXPECT_EQ(reading("training: 3"), "run.yaml:1: training: expected a map of keys, found 3");
  EXPECT_EQ(reading("training: {schedule: cosin}"),
            "run.yaml:1: training.schedule: expected one of the allowed values, found \"cosin\"; did you mean \"cosine\"? "
            "allowed: cosine, step");
}

TEST(Config, BadSyntaxDuplicatesAndDeepNestingAreErrorsWithTheirLine) {
  EXPECT_NE(reading("a: 1\nb: [1, 2").find("run.yaml:2: this is not YAML"), std::string::npos);
  EXPECT_EQ(reading("seed: 1\nseed: 2\n"), "run.yaml:2: key \"seed\" is given twice; remove one");
  EXPECT_NE(reading("a: &x 1\nb: *x\n").find("run.yaml:2: aliases"), std::string::npos);
  EXPECT_NE(reading("a: 1\n---\nb: 2\n").find("more than one YAML document"), std::string::npos);
  EXPECT_NE(reading("? [a, b]\n: 1\n").find("a key must be a word"), std::string::npos);
  EXPECT_NE(reading(std::string(70, '[') + std::string(70, ']')).find("nested deeper than 64"), std::string::npos);
  const auto json = [](const std::string& text) { return message_of([&] { parse_json(text, "c.json"); }); };
  EXPECT_EQ(json("{\n\"a\": 1,\n\"a\": 2}"), "c.json:3: key \"a\" is given twice; remove one");
  EXPECT_NE(json("{\n\"a\": 1,\n}").find("c.json:3: this is not JSON"), std::string::npos);
  EXPECT_NE(json("").find("c.json:1: this is not JSON"), std::string::npos);
  EXPECT_NE(json("{} {}").find("this is not JSON"), std::string::npos);
  EXPECT_NE(json(std::string(100000, '[')).find("nested deeper than 64"), std::string::npos);
}

TEST(Config, JsonValuesKnowTheirLines) {
  const ConfigValue document = parse_json("{\n  \"a\": 12\n,\n  \"b\": [true,\n    {\"c\": \"x\"}]}", "c.json");
  EXPECT_EQ(find_path(document, "a")->where(), "c.json:2");
  EXPECT_EQ(find_path(document, "b")->where(), "c.json:4");
  EXPECT_EQ(find_path(document, "b[1].c")->where(), "c.json:5");
  EXPECT_EQ(find_path(document, "b[2]"), nullptr);
  EXPECT_STREQ(config_error(document, "b[1].d", "missing").what(), "c.json:5: b[1].d: missing");
}

TEST(Config, SetPathReplacesDeepValuesAndMakesTheMapsOnTheWay) {
  ConfigValue document = parse_yaml("a: {b: [1, {c: 2}]}\nd: 3\n", "run.yaml");
  set_path(document, "a.b[1].c", 5);
  set_path(document, "x.y", "new");
  EXPECT_EQ(to_json(document, 0), "{\"a\": {\"b\": [1, {\"c\": 5}]}, \"d\": 3, \"x\": {\"y\": \"new\"}}");
  EXPECT_EQ(message_of([&] { set_path(document, "a.b[2]", 1); }), "run.yaml:1: a.b[2]: there is no element 2 in a list of 2");
  EXPECT_EQ(message_of([&] { set_path(document, "d.e", 1); }), "run.yaml:2: d.e: 3 has no keys");
}

TEST(Config, YamlWordsFollowTheCoreSchema) {
  const auto kind = [](const std::string& word) { return parse_yaml(word, "").kind(); };
  using Kind = ConfigValue::Kind;
  for (const char* word : {"~", "null", ""}) EXPECT_EQ(kind(word), Kind::null) << word;
  for (const char* word : {"0", "-7", "+7", "007"}) EXPECT_EQ(kind(word), Kind::integer) << word;
  for (const char* word : {"5.0e-4", "1e3", ".5", "-.inf", ".nan", "1."}) EXPECT_EQ(kind(word), Kind::number) << word;
  for (const char* word : {"inf", "nan", "1-2", "e5", "11h30m", "\"12\"", "0x10", "no"}) {
    EXPECT_EQ(kind(word), Kind::string) << word;
  }
  EXPECT_EQ(parse_yaml("+1e3", "").as_number(), 1000.0);
  EXPECT_EQ(kind("18446744073709551615"), Kind::integer);
  EXPECT_EQ(kind("18446744073709551616"), Kind::number);
  EXPECT_TRUE(std::isnan(parse_yaml(".nan", "").as_number()));
}

TEST(Config, WritingAndReadingGivesTheSameBits) {
  Document run;
  run.seed = 18446744073709551615u;
  run.training.learning_rate = 0.1 + 0.2;
  run.training.max_grad_norm.reset();
  run.training.betas = {1.0, 1e-300};
  run.training.freeze = {"true", "12", "a: b", "line\nbreak \"quoted\" \x01", "/a b/c.nc", ""};
  run.model = ConfigValue::list({ConfigValue::map({{"p", 1}, {"q r", ConfigValue::list({1.0, "x"})}}), ConfigValue()});
  for (const ConfigValue& written : {parse_yaml(to_yaml(write_config(run)), "y"), parse_json(to_json(write_config(run)), "j"),
                                     parse_json(to_json(write_config(run), 0), "j")}) {
    const Document again = read_config<Document>(written);
    EXPECT_EQ(again.seed, run.seed);
    EXPECT_EQ(again.training.learning_rate, run.training.learning_rate);
    EXPECT_FALSE(again.training.max_grad_norm.has_value());
    EXPECT_EQ(again.training.betas, run.training.betas);
    EXPECT_EQ(again.training.freeze, run.training.freeze);
    EXPECT_EQ(to_json(again.model), to_json(run.model));
  }
}

TEST(Config, WritesJsonAndYamlThatPeopleRead) {
  const ConfigValue value = ConfigValue::map({{"a", 1.0}, {"b", ConfigValue::list({1, 2})}, {"c", ConfigValue::map({{"d", true}})}});
  EXPECT_EQ(to_json(value, 0), "{\"a\": 1.0, \"b\": [1, 2], \"c\": {\"d\": true}}");
  EXPECT_EQ(to_json(value), "{\n  \"a\": 1.0,\n  \"b\": [\n    1,\n    2\n  ],\n  \"c\": {\n    \"d\": true\n  }\n}");
  EXPECT_EQ(to_yaml(value), "a: 1.0\nb: [1, 2]\nc:\n  d: true\n");
}

}  // namespace
}  // namespace trident
