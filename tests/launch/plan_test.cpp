/// A plan is what a run then does: counted memory and bytes sent are those of real steps on the same mesh.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "launch/mesh_choice.h"
#include "launch/plan/counted_batch.h"
#include "launch/plan/search.h"
#include "launch/trainer/trainer.h"
#include "runtime/device/allocator.h"
#include "runtime/tensor/copy.h"
#include "tests/support/random_tensor.h"
#include "tests/support/test_world.h"

namespace trident {
namespace {

using ::testing::HasSubstr;
using testing::random_tensor;
using testing::world;

constexpr const char* kScot =
    "{type: scot, image_size: 64, patch_size: 2, embed_dim: 24, depths: [2, 2], num_heads: [2, 4], skip_connections: [1, 0], window_size: "
    "8, "
    "use_conditioning: true}";
constexpr const char* kFno = "{type: fno, n_modes: [16, 16], hidden_channels: 16}";
constexpr const char* kTfno = "{type: tfno, n_modes: [16, 16], hidden_channels: 16, rank: 0.2}";
constexpr const char* kMgTfno = "{type: mg_tfno, n_modes: [8, 8], hidden_channels: 16, rank: 0.2, levels: 1}";

/// A run on data that do not exist, of fields of 64x64 points.
PlannedRun planned_run(const std::string& model, const std::string& settings = "") {
  const bool scot = model == kScot;
  PlannedRun planned;
  planned.run.document =
      parse_yaml(concat("{output: nowhere, model: ", model,
                        ", data: {train: [{input: x, channels: [u, v], path: none.h5, trajectories: [0, 64]", scot ? ", time_scale: 1" : "",
                        "}]}, training: {global_batch_size: 4, steps: 10", settings.empty() ? "" : ", ", settings, "}}"),
                 "run.yaml");
  planned.run.config = read_config<RunConfig>(planned.run.document);
  planned.data = std::make_shared<const Dataset>(announced_dataset(planned.run.config.data, {64, 64}));
  planned.choice = choose_model(planned.run, *planned.data);
  planned.steps = 10;
  return planned;
}

MeshSizes coordinates_of(const Mesh& mesh) {
  return {mesh.coordinate(Axis::data), mesh.coordinate(Axis::domain_y), mesh.coordinate(Axis::domain_x), mesh.coordinate(Axis::tensor)};
}

struct Measured {
  std::int64_t peak = 0, sent = 0, parameters = 0, moments = 0;
};

/// A real step with numbers, of this rank.
Measured real_step(const PlannedRun& planned, const RunConfig& config, const MeshSizes& sizes) {
  const Mesh mesh(world(), sizes);
  const std::int64_t before = memory_counters({}).in_use_bytes;
  const Model model = describe_model(planned.choice.config, mesh);
  ParameterList list = materialize(model, DType::f32, Use::training, RandomKey(1));
  Measured measured{.parameters = list.values().num_bytes()};
  Trainer trainer(model, std::move(list), config.training, config.parallel, 10, 1, mesh);
  for (const NamedPiece& moment : trainer.optimizer().state()) measured.moments += moment.value.num_bytes();
  LoaderOptions reading = shared_out(model, mesh);
  reading.global_batch_size = config.training.global_batch_size;
  reading.micro_batches = config.training.gradient_accumulation_steps;
  std::vector<GlobalBatch> batches;
  for (int i = 0; i < reading.batches_ahead + 2; ++i) batches.push_back(counted_batch(*planned.data, reading));
  for (MicroBatch& part : batches.front().micro_batches) {
    for (const Tensor* tensor : {&part.fields.input, &part.fields.label, &part.fields.time}) {
      if (tensor->defined()) copy_into(*tensor, random_tensor(tensor->shape(), 3));
    }
  }
  const std::int64_t sent = mesh.bytes_sent();
  reset_peak({});
  trainer.step(batches.front(), 0);
  measured.sent = mesh.bytes_sent() - sent;
  measured.peak = memory_counters({}).peak_bytes - before;
  return measured;
}

struct Case {
  const char* name;
  const char* model;
  MeshSizes sizes;
  const char* training = "";
  bool sharding = false, sequence = false;
};

class CountedStep : public ::testing::TestWithParam<Case> {};

TEST_P(CountedStep, IsTheRealOne) {
  const Case& given = GetParam();
  if (given.sizes[0] * given.sizes[1] * given.sizes[2] * given.sizes[3] != world()->size()) GTEST_SKIP() << "for another number of ranks";
  const PlannedRun planned = planned_run(given.model, given.training);
  PlannedMesh chosen{.sizes = given.sizes,
                     .optimizer_sharding = given.sharding,
                     .sequence_parallel = given.sequence,
                     .activation_checkpointing = planned.run.config.training.activation_checkpointing};
  const RunConfig config = config_of(planned, chosen);
  const Measured real = real_step(planned, config, given.sizes);
  const RankNeeds counted = rehearse(planned, config, given.sizes, coordinates_of(Mesh(world(), given.sizes)));
  EXPECT_EQ(counted.memory.parameters, real.parameters);
  EXPECT_EQ(counted.memory.moments, real.moments);
  std::int64_t sent = 0;
  for (const Traffic& traffic : counted.traffic) sent += traffic.bytes;
  EXPECT_EQ(sent, real.sent);
  // What kernels take for themselves is not counted: it shows in models as small as these.
  EXPECT_NEAR(static_cast<double>(counted.memory.peak) / static_cast<double>(real.peak), 1.0, 0.05);
}

INSTANTIATE_TEST_SUITE_P(
    Meshes, CountedStep,
    ::testing::Values(Case{"scot", kScot, {1, 1, 1, 1}}, Case{"scot_recomputed", kScot, {1, 1, 1, 1}, "activation_checkpointing: true"},
                      Case{"scot_accumulated", kScot, {1, 1, 1, 1}, "gradient_accumulation_steps: 2"}, Case{"fno", kFno, {1, 1, 1, 1}},
                      Case{"tfno", kTfno, {1, 1, 1, 1}}, Case{"mg_tfno", kMgTfno, {1, 1, 1, 1}}, Case{"scot_data", kScot, {2, 1, 1, 1}},
                      Case{"scot_domain", kScot, {1, 2, 1, 1}}, Case{"scot_tensor", kScot, {1, 1, 1, 2}},
                      Case{"scot_sequence", kScot, {1, 1, 1, 2}, "", false, true}, Case{"fno_data", kFno, {2, 1, 1, 1}, "", true},
                      Case{"fno_domain", kFno, {1, 1, 2, 1}}, Case{"tfno_tensor", kTfno, {1, 1, 1, 2}},
                      Case{"mg_tfno_patches", kMgTfno, {1, 2, 1, 1}}, Case{"scot_four", kScot, {2, 1, 2, 1}, "", true},
                      Case{"scot_square", kScot, {1, 2, 2, 1}, "activation_checkpointing: true"},
                      Case{"scot_tensor_data", kScot, {2, 1, 1, 2}, "", true, true}, Case{"fno_square", kFno, {1, 2, 2, 1}},
                      Case{"tfno_four", kTfno, {1, 2, 1, 2}}, Case{"mg_tfno_four", kMgTfno, {2, 2, 1, 1}}),
    [](const auto& info) { return std::string(info.param.name); });

Machine machine_with(std::int64_t memory) {
  return {.memory = memory, .flops = 1e12, .bandwidth = 1e11, .inside = 1e10, .between = 1e9, .latency = 1e-5, .devices_per_node = 4};
}

/// The tests below need no other ranks.
bool is_first() { return world()->rank() == 0; }

TEST(Plan, WhatSavesMemoryIsTakenWhereItIsNeeded) {
  if (!is_first()) GTEST_SKIP() << "rank 0 plans";
  const PlannedRun planned = planned_run(kScot);
  const Plan roomy = plan_meshes(planned, 1, machine_with(std::int64_t{1} << 40));
  ASSERT_EQ(roomy.fitting.size(), 1U);
  const PlannedMesh& whole = roomy.fitting.front();
  EXPECT_FALSE(whole.activation_checkpointing);
  const Plan tight = plan_meshes(planned, 1, machine_with(whole.needs.memory.peak));  // of which a tenth stays free
  ASSERT_EQ(tight.fitting.size(), 1U);
  EXPECT_TRUE(tight.fitting.front().activation_checkpointing);
  EXPECT_GT(tight.fitting.front().time.total(), whole.time.total());
  const Plan hopeless = plan_meshes(planned, 1, machine_with(whole.needs.memory.peak / 4));
  EXPECT_TRUE(hopeless.fitting.empty());
  EXPECT_EQ(hopeless.too_large.size(), 1U);
}

TEST(Plan, MeshesComeFastestFirstAndOthersWithTheirReasons) {
  if (!is_first()) GTEST_SKIP() << "rank 0 plans";
  const Plan plan = plan_meshes(planned_run(kScot), 8, machine_with(std::int64_t{1} << 40));
  EXPECT_EQ(plan.fitting.size() + plan.impossible.size(), meshes_of(8).size());
  EXPECT_TRUE(std::ranges::is_sorted(plan.fitting, {}, [](const PlannedMesh& mesh) { return mesh.time.total(); }));
  const auto all_data = std::ranges::find(plan.impossible, MeshSizes{8, 1, 1, 1}, &std::pair<MeshSizes, std::string>::first);
  ASSERT_NE(all_data, plan.impossible.end());
  EXPECT_THAT(all_data->second, HasSubstr("8 ranks for a batch of 4 samples"));
}

TEST(Plan, WhatTheRunFileNamesIsKept) {
  if (!is_first()) GTEST_SKIP() << "rank 0 plans";
  PlannedRun planned = planned_run(kScot);
  apply_override(planned.run.document, "parallel={domain_y: 2, optimizer_sharding: false}");
  planned.run.config = read_config<RunConfig>(planned.run.document);
  const Plan plan = plan_meshes(planned, 4, machine_with(std::int64_t{1} << 20));  // nothing fits, so all is tried
  ASSERT_FALSE(plan.too_large.empty());
  for (const PlannedMesh& mesh : plan.too_large) {
    EXPECT_EQ(mesh.sizes[1], 2);
    EXPECT_FALSE(mesh.optimizer_sharding);
    EXPECT_TRUE(mesh.activation_checkpointing);
  }
}

TEST(Plan, GpusAreCountedWithoutOne) {
  if (!is_first()) GTEST_SKIP() << "rank 0 plans";
  PlannedRun planned = planned_run(kScot, "precision: bf16");
  planned.run.config.device = DeviceChoice::cuda;
  const RankNeeds half = rehearse(planned, planned.run.config, {1, 1, 1, 1}, {});
  planned.run.config.training.precision = Precision::f32;
  const RankNeeds full = rehearse(planned, planned.run.config, {1, 1, 1, 1}, {});
  EXPECT_EQ(half.memory.parameters, full.memory.parameters / 2 * 3);  // and their copy in bf16
  EXPECT_EQ(half.memory.moments, full.memory.moments);
  EXPECT_LT(half.memory.activations, full.memory.activations * 3 / 4);  // MLPs keep their hidden numbers twice in bf16
}

TEST(Plan, ATensorAxisWithinANodeTravelsAtItsRate) {
  const RankNeeds needs{
      .traffic = {{.axes = Axis::tensor, .calls = 100, .bytes = 1'000'000'000}}, .flops = 3e12, .bytes_touched = 200'000'000'000};
  Machine machine = machine_with(1);
  const StepTime inside = step_time(needs, machine, {2, 1, 1, 4}, kDefaultOrder);
  EXPECT_DOUBLE_EQ(inside.computing, 3.0 + 2.0);
  EXPECT_DOUBLE_EQ(inside.waiting, 100 * 1e-5 + 0.1);
  const MeshOrder data_first{Axis::data, Axis::tensor, Axis::domain_x, Axis::domain_y};
  EXPECT_DOUBLE_EQ(step_time(needs, machine, {2, 1, 1, 4}, data_first).waiting, 100 * 1e-5 + 1.0);
}

TEST(Plan, TheBackwardHidesSumsOfGradients) {
  RankNeeds needs{.traffic = {{.axes = Axis::data, .background = true, .calls = 0, .bytes = 1'000'000'000}}, .flops = 3e12};
  EXPECT_DOUBLE_EQ(step_time(needs, machine_with(1), {8, 1, 1, 1}, kDefaultOrder).waiting, 0.0);  // 1 s behind 2 s
  needs.flops = 0.3e12;
  EXPECT_NEAR(step_time(needs, machine_with(1), {8, 1, 1, 1}, kDefaultOrder).waiting, 0.8, 1e-12);
}

TEST(Plan, AmountsOfMemoryAreRead) {
  EXPECT_EQ(bytes_of_text("80GiB"), std::int64_t{80} << 30);
  EXPECT_EQ(bytes_of_text("1.5 TiB"), std::int64_t{3} << 39);
  EXPECT_EQ(bytes_of_text("512MB"), 512'000'000);
  for (const char* text : {"", "80", "GiB", "-1GiB", "0GiB", "80gib", "80GiBs"}) EXPECT_EQ(bytes_of_text(text), std::nullopt) << text;
}

}  // namespace
}  // namespace trident
