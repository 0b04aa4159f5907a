/// What the service answers, as its clients see it.
#include "rpc/server.h"

#include <cmath>

#include "rpc/client.h"
#include "tests/rpc/server_fixture.h"
#include "tests/support/temporary_folder.h"

namespace trident {
namespace {

TEST_F(ServerTest, DescribesItself) {
  grpc::ClientContext live, ready, metadata, index;
  inference::ServerLiveResponse is_live;
  inference::ServerReadyResponse is_ready;
  inference::ServerMetadataResponse about;
  inference::RepositoryIndexResponse models;
  ASSERT_TRUE(stub->ServerLive(&live, {}, &is_live).ok());
  ASSERT_TRUE(stub->ServerReady(&ready, {}, &is_ready).ok());
  ASSERT_TRUE(stub->ServerMetadata(&metadata, {}, &about).ok());
  ASSERT_TRUE(stub->RepositoryIndex(&index, {}, &models).ok());
  EXPECT_TRUE(is_live.live());
  EXPECT_TRUE(is_ready.ready());
  EXPECT_EQ(about.name(), "trident");
  EXPECT_FALSE(about.version().empty());
  EXPECT_EQ(std::ranges::count(about.extensions(), "statistics"), 1);
  ASSERT_EQ(models.models_size(), 3);
  EXPECT_EQ(models.models(0).name(), "double");
  EXPECT_EQ(models.models(0).state(), "READY");
  EXPECT_EQ(health(), kServing);
}

TEST_F(ServerTest, DescribesItsModels) {
  grpc::ClientContext metadata, config;
  inference::ModelMetadataRequest about;
  inference::ModelMetadataResponse described;
  about.set_name("double");
  ASSERT_TRUE(stub->ModelMetadata(&metadata, about, &described).ok());
  EXPECT_EQ(described.platform(), "trident");
  EXPECT_EQ(described.versions(0), "1");
  ASSERT_EQ(described.inputs_size(), 3);
  EXPECT_EQ(described.inputs(0).datatype(), "FP32");
  EXPECT_EQ(std::vector(described.inputs(0).shape().begin(), described.inputs(0).shape().end()),
            (std::vector<std::int64_t>{-1, 2, -1, -1}));
  EXPECT_EQ(described.outputs(0).name(), "output");

  inference::ModelConfigRequest wanted;
  inference::ModelConfigResponse configured;
  wanted.set_name("double");
  ASSERT_TRUE(stub->ModelConfig(&config, wanted, &configured).ok());
  EXPECT_GT(configured.config().max_batch_size(), 0);
  EXPECT_EQ(configured.config().platform(), "trident");
  const auto& input = configured.config().input(0);
  EXPECT_EQ(std::vector(input.dims().begin(), input.dims().end()), (std::vector<std::int64_t>{2, -1, -1}));
  EXPECT_EQ(input.data_type(), inference::TYPE_FP32);
}

TEST_F(ServerTest, KnowsWhichModelsAreReady) {
  const auto ready = [&](const std::string& name, const std::string& version, StatusCode expected) {
    grpc::ClientContext context;
    inference::ModelReadyRequest request;
    inference::ModelReadyResponse reply;
    request.set_name(name);
    request.set_version(version);
    EXPECT_EQ(stub->ModelReady(&context, request, &reply).error_code(), expected) << name << version;
    return reply.ready();
  };
  EXPECT_TRUE(ready("double", "", StatusCode::OK));
  EXPECT_TRUE(ready("double", "1", StatusCode::OK));
  EXPECT_FALSE(ready("double", "2", StatusCode::OK));
  EXPECT_FALSE(ready("triple", "", StatusCode::OK));
  EXPECT_FALSE(ready("double", "x", StatusCode::INVALID_ARGUMENT));
}

TEST_F(ServerTest, AnswersRequests) {
  ModelInferRequest request = message_of(prediction_of({1, 2, 3, 4}));
  request.set_id("seven");
  request.set_model_version("1");
  request.add_outputs()->set_name("output");
  ModelInferResponse reply;
  const grpc::Status status = infer(request, &reply);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(reply.id(), "seven");
  EXPECT_EQ(reply.model_name(), "double");
  EXPECT_EQ(to_host<float>(decode_reply(std::move(reply))), (std::vector<float>{2, 4, 6, 8}));
}

TEST_F(ServerTest, AnswersF64WithF64AndStepsWithOneMoreAxis) {
  PredictionRequest prediction;
  prediction.input = from_values({1, 2, 1, 1}, std::vector<double>{0.1, 0.2});
  prediction.steps = 2;
  Client client(server.address());
  const Tensor output = client.predict("double", prediction);
  EXPECT_EQ(output.shape(), (Shape{1, 2, 2, 1, 1}));
  EXPECT_EQ(to_host<double>(output), (std::vector<double>{0.2, 0.4, 0.2, 0.4}));
}

TEST_F(ServerTest, CarriesMessagesBeyondTheDefaultLimit) {
  const std::vector<float> numbers(std::size_t{8} << 20, 0.5F);  // 32 MiB; gRPC's default is 4
  EXPECT_EQ(to_host<float>(Client(server.address()).predict("double", prediction_of(numbers))), std::vector<float>(numbers.size(), 1.0F));
}

TEST_F(ServerTest, GivesMalformedRequestsTheirStatusAndLivesOn) {
  const ModelInferRequest valid = message_of(prediction_of({1, 2}));
  const auto with = [&](auto spoil) {
    ModelInferRequest request = valid;
    spoil(request);
    return request;
  };
  const std::pair<ModelInferRequest, StatusCode> cases[] = {
      {with([](auto& r) { r.set_model_name("triple"); }), StatusCode::NOT_FOUND},
      {with([](auto& r) { r.set_model_version("2"); }), StatusCode::NOT_FOUND},
      {with([](auto& r) { r.set_model_version("latest"); }), StatusCode::INVALID_ARGUMENT},
      {with([](auto& r) { r.mutable_raw_input_contents(0)->pop_back(); }), StatusCode::INVALID_ARGUMENT},
      {with([](auto& r) { r.mutable_inputs(0)->set_shape(0, -1); }), StatusCode::INVALID_ARGUMENT},
      {with([](auto& r) { (*r.mutable_parameters())["step"].set_int64_param(1); }), StatusCode::INVALID_ARGUMENT},
      {with([](auto& r) { (*r.mutable_parameters())["steps"].set_string_param("1"); }), StatusCode::INVALID_ARGUMENT},
      {with([](auto& r) { (*r.mutable_parameters())["steps"].set_int64_param(std::int64_t{1} << 40); }), StatusCode::INVALID_ARGUMENT},
      {with([](auto& r) { r.add_outputs()->set_name("hidden"); }), StatusCode::INVALID_ARGUMENT},
      {with([](auto& r) { (*r.mutable_inputs(0)->mutable_parameters())["shared_memory_region"].set_string_param("x"); }),
       StatusCode::UNIMPLEMENTED},
      {message_of(prediction_of({1, std::nanf("")})), StatusCode::INVALID_ARGUMENT},
      {message_of(prediction_of({1, INFINITY})), StatusCode::INVALID_ARGUMENT},
      {ModelInferRequest(), StatusCode::NOT_FOUND},
  };
  for (const auto& [request, expected] : cases) {
    const grpc::Status status = infer(request);
    EXPECT_EQ(status.error_code(), expected) << request.ShortDebugString() << status.error_message();
    EXPECT_FALSE(status.error_message().empty());
  }
  EXPECT_TRUE(infer(valid).ok());
}

TEST_F(ServerTest, KeepsErrorTextsShort) {
  ModelInferRequest request = message_of(prediction_of({1, 2}));
  std::string name = "m";
  for (int i = 0; i < 100'000; ++i) name += "\u00e9";
  request.set_model_name(name);
  const grpc::Status status = infer(request);
  EXPECT_EQ(status.error_code(), StatusCode::NOT_FOUND);
  EXPECT_LT(status.error_message().size(), 1100);
}

TEST_F(ServerTest, AnswersBytesThatAreNoMessageWithAnError) {
  for (const char* bytes : {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "\x3a\xff\xff\xff\xff\x07", "\x0a\x02\xc3\x28"}) {
    EXPECT_EQ(call_raw("/inference.GRPCInferenceService/ModelInfer", bytes).error_code(), StatusCode::INVALID_ARGUMENT);
  }
  EXPECT_TRUE(infer(message_of(prediction_of({1, 2}))).ok());
}

TEST_F(ServerTest, SaysWhichPartsOfTheProtocolAreNotServed) {
  grpc::ClientContext context;
  const auto stream = stub->ModelStreamInfer(&context);
  EXPECT_EQ(stream->Finish().error_code(), StatusCode::UNIMPLEMENTED);
  for (const char* method : {"RepositoryModelLoad", "SystemSharedMemoryStatus", "TraceSetting"}) {
    EXPECT_EQ(call_raw(std::string("/inference.GRPCInferenceService/") + method, "").error_code(), StatusCode::UNIMPLEMENTED);
  }
}

TEST_F(ServerTest, ReportsStatistics) {
  PredictionRequest prediction;
  prediction.input = zeros({3, 2, 1, 1}, DType::f32);
  ASSERT_TRUE(infer(message_of(prediction)).ok());
  ASSERT_TRUE(infer(message_of(prediction_of({1, 2}))).ok());
  EXPECT_FALSE(infer(message_of(prediction_of({1, NAN}))).ok());
  ModelInferRequest malformed = message_of(prediction);
  malformed.clear_raw_input_contents();
  EXPECT_FALSE(infer(malformed).ok());

  grpc::ClientContext all, one, none;
  inference::ModelStatisticsRequest request;
  inference::ModelStatisticsResponse everything, reply;
  ASSERT_TRUE(stub->ModelStatistics(&all, request, &everything).ok());
  EXPECT_EQ(everything.model_stats_size(), 3);
  request.set_name("double");
  ASSERT_TRUE(stub->ModelStatistics(&one, request, &reply).ok());
  ASSERT_EQ(reply.model_stats_size(), 1);
  const auto& stats = reply.model_stats(0);
  EXPECT_EQ(stats.inference_count(), 4);
  EXPECT_EQ(stats.execution_count(), 2);
  EXPECT_EQ(stats.inference_stats().success().count(), 2);
  EXPECT_EQ(stats.inference_stats().fail().count(), 2);
  EXPECT_EQ(stats.inference_stats().queue().count(), 2);
  EXPECT_GT(stats.inference_stats().compute_infer().ns(), 0);
  ASSERT_EQ(stats.batch_stats_size(), 2);
  EXPECT_EQ(stats.batch_stats(1).batch_size(), 3);
  request.set_name("triple");
  EXPECT_EQ(stub->ModelStatistics(&none, request, &reply).error_code(), StatusCode::NOT_FOUND);
}

TEST_F(ServerTest, RefusesAnAddressThatIsTaken) {
  EXPECT_THROW(Server(engine, server.address()), ConfigError);
  EXPECT_THROW(Server(engine, "no such host:1"), ConfigError);
  EXPECT_THROW(Server(engine, "127.0.0.1:99999"), ConfigError) << "which is 34463 in 16 bits";
}

TEST_F(ServerTest, ListensAtASocketInTheFileSystem) {
  const testing::TemporaryFolder folder;
  const Server local(engine, "unix:" + (folder / "socket").string());
  EXPECT_EQ(local.address(), "unix:" + (folder / "socket").string());
  EXPECT_EQ(to_host<float>(Client(local.address()).predict("double", prediction_of({1, 2}))), (std::vector<float>{2, 4}));
}

TEST_F(ServerTest, TellsItsOwnClientWhatIsWrong) {
  Client client(server.address());
  try {
    client.predict("triple", prediction_of({1, 2}));
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_NE(std::string(error.what()).find("model \"triple\": not served here; there is: double, held, slow"), std::string::npos)
        << error.what();
  }
  EXPECT_THROW(Client("127.0.0.1:1").predict("double", prediction_of({1, 2})), CommunicationError);
}

}  // namespace
}  // namespace trident
