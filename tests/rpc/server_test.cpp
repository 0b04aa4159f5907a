/// The service as its clients see it: a real server in this process, and real gRPC clients.
#include "rpc/server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <grpcpp/create_channel_posix.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <future>
#include <thread>

#include "rpc/client.h"
#include "rpc/engine.h"
#include "rpc/inference.grpc.pb.h"
#include "rpc/tensor_codec.h"
#include "tests/rpc/fake_model.h"
#include "tests/support/temporary_folder.h"

namespace trident {
namespace {

using namespace std::chrono_literals;
using grpc::StatusCode;
using inference::ModelInferRequest;
using inference::ModelInferResponse;
using Stub = inference::GRPCInferenceService::Stub;

PredictionRequest prediction_of(const std::vector<float>& numbers) {
  PredictionRequest prediction;
  prediction.input = from_values({1, 2, 1, static_cast<std::int64_t>(numbers.size()) / 2}, numbers);
  return prediction;
}

ModelInferRequest message_of(const PredictionRequest& prediction, const std::string& model = "double") {
  ModelInferRequest request;
  encode_request(prediction, model, &request);
  return request;
}

/// A call that runs beside the test.
struct Call {
  grpc::ClientContext context;
  ModelInferRequest request;
  ModelInferResponse reply;
  std::future<grpc::Status> status;
};

class ServerTest : public ::testing::Test {
 protected:
  void TearDown() override {
    gate->open();
    engine.stop(PendingRequest::Clock::time_point::max());
    computing.join();
  }

  std::shared_ptr<grpc::Channel> channel() {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // a connection of its own
    arguments.SetMaxReceiveMessageSize(-1);
    return grpc::CreateCustomChannel(server.address(), grpc::InsecureChannelCredentials(), arguments);
  }

  grpc::Status infer(const ModelInferRequest& request, ModelInferResponse* reply) {
    grpc::ClientContext context;
    return stub->ModelInfer(&context, request, reply);
  }
  grpc::Status infer(const ModelInferRequest& request) {
    ModelInferResponse reply;
    return infer(request, &reply);
  }

  std::unique_ptr<Call> start(const std::string& model, std::chrono::milliseconds time_left = 1h) {
    auto call = std::make_unique<Call>();
    call->request = message_of(prediction_of({1, 2}), model);
    call->context.set_deadline(std::chrono::system_clock::now() + time_left);
    call->status =
        std::async(std::launch::async, [this, raw = call.get()] { return stub->ModelInfer(&raw->context, raw->request, &raw->reply); });
    return call;
  }
  /// A call that the computing thread is busy with until the gate opens.
  std::unique_ptr<Call> occupy() {
    auto call = start("held");
    gate->wait_for_arrivals(1);
    return call;
  }
  std::int64_t pending(const std::string& model) { return engine.find(model, "").statistics->snapshot().pending; }
  void wait_for_pending(const std::string& model, std::int64_t count) {
    while (pending(model) != count) std::this_thread::sleep_for(1ms);
  }

  /// A call of any method with any bytes.
  grpc::Status call_raw(const std::string& method, const std::string& bytes, std::string* answer = nullptr) {
    grpc::GenericStub generic(channel());
    grpc::ClientContext context;
    const grpc::Slice slice(bytes);
    const grpc::ByteBuffer request(&slice, 1);
    grpc::ByteBuffer reply;
    std::promise<grpc::Status> done;
    generic.UnaryCall(&context, method, {}, &request, &reply, [&](grpc::Status status) { done.set_value(status); });
    const grpc::Status status = done.get_future().get();
    grpc::Slice whole;
    if (status.ok() && answer != nullptr && reply.DumpToSingleSlice(&whole).ok()) answer->assign(whole.begin(), whole.end());
    return status;
  }

  static constexpr const char* kServing = "\x08\x01";
  static constexpr const char* kNotServing = "\x08\x02";
  /// The reply of grpc.health.v1 for all services.
  std::string health() {
    std::string answer;
    EXPECT_TRUE(call_raw("/grpc.health.v1.Health/Check", "", &answer).ok());
    return answer;
  }

  std::shared_ptr<Gate> gate = std::make_shared<Gate>();
  Engine engine{{fake_model("double"), fake_model("held", gate)}, {.requests = 4}};
  Server server{engine, "127.0.0.1:0"};
  std::unique_ptr<Stub> stub = inference::GRPCInferenceService::NewStub(channel());
  std::thread computing{[this] { engine.run(); }};
};

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
  ASSERT_EQ(models.models_size(), 2);
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

TEST_F(ServerTest, RefusesWhatDoesNotFitIntoTheQueue) {
  const auto computing_call = occupy();
  std::vector<std::unique_ptr<Call>> waiting;
  for (int i = 0; i < 4; ++i) waiting.push_back(start("double"));
  wait_for_pending("double", 4);
  const grpc::Status status = infer(message_of(prediction_of({1, 2})));
  EXPECT_EQ(status.error_code(), StatusCode::RESOURCE_EXHAUSTED);
  gate->open();
  EXPECT_TRUE(computing_call->status.get().ok());
  for (const auto& call : waiting) EXPECT_TRUE(call->status.get().ok());
}

TEST_F(ServerTest, DoesNotComputeWhatIsCancelledOrTooLate) {
  const auto computing_call = occupy();
  const auto cancelled = start("double"), late = start("double", 50ms);
  EXPECT_EQ(late->status.get().error_code(), StatusCode::DEADLINE_EXCEEDED);
  wait_for_pending("double", 1);
  cancelled->context.TryCancel();
  EXPECT_EQ(cancelled->status.get().error_code(), StatusCode::CANCELLED);
  wait_for_pending("double", 0);  // while the computing thread is still busy
  gate->open();
  EXPECT_TRUE(computing_call->status.get().ok());
  const StatisticsSnapshot sums = engine.find("double", "").statistics->snapshot();
  EXPECT_EQ(sums.execution_count, 0);
  EXPECT_EQ(sums.fail.count, 2);
}

TEST_F(ServerTest, HonoursTheTimeoutOfARequest) {
  const auto computing_call = occupy();
  auto call = std::make_unique<Call>();
  call->request = message_of(prediction_of({1, 2}));
  (*call->request.mutable_parameters())["timeout"].set_int64_param(1000);
  call->status = std::async(std::launch::async, [&] { return stub->ModelInfer(&call->context, call->request, &call->reply); });
  wait_for_pending("double", 1);
  std::this_thread::sleep_for(5ms);
  gate->open();
  EXPECT_EQ(call->status.get().error_code(), StatusCode::DEADLINE_EXCEEDED);
  EXPECT_TRUE(computing_call->status.get().ok());
}

/// A connection that the test can cut, as a dying machine would.
class Cable {
 public:
  explicit Cable(const std::string& address) : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in target{};
    target.sin_family = AF_INET;
    target.sin_port = htons(static_cast<std::uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
    target.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(socket_, reinterpret_cast<const sockaddr*>(&target), sizeof target), 0);
    const int own = ::dup(socket_);  // the channel closes its descriptor
    ::fcntl(own, F_SETFL, O_NONBLOCK);
    stub_ = inference::GRPCInferenceService::NewStub(grpc::CreateInsecureChannelFromFd("cable", own));
  }
  ~Cable() { ::close(socket_); }
  Stub& stub() { return *stub_; }
  void cut() { ::shutdown(socket_, SHUT_RDWR); }

 private:
  int socket_;
  std::unique_ptr<Stub> stub_;
};

TEST_F(ServerTest, ForgetsClientsThatVanish) {
  const auto computing_call = occupy();
  Cable cable(server.address());
  grpc::ClientContext context;
  const ModelInferRequest request = message_of(prediction_of({1, 2}));
  ModelInferResponse reply;
  auto status = std::async(std::launch::async, [&] { return cable.stub().ModelInfer(&context, request, &reply); });
  wait_for_pending("double", 1);
  cable.cut();
  wait_for_pending("double", 0);  // while the computing thread is still busy
  EXPECT_EQ(status.get().error_code(), StatusCode::UNAVAILABLE);
  gate->open();
  EXPECT_TRUE(computing_call->status.get().ok());
  EXPECT_TRUE(infer(message_of(prediction_of({1, 2}))).ok());
}

TEST_F(ServerTest, SurvivesAClientThatVanishesWhileItIsServed) {
  Cable cable(server.address());
  grpc::ClientContext context;
  const ModelInferRequest request = message_of(prediction_of({1, 2}), "held");
  ModelInferResponse reply;
  auto status = std::async(std::launch::async, [&] { return cable.stub().ModelInfer(&context, request, &reply); });
  gate->wait_for_arrivals(1);
  cable.cut();
  EXPECT_EQ(status.get().error_code(), StatusCode::UNAVAILABLE);
  gate->open();
  EXPECT_TRUE(infer(message_of(prediction_of({1, 2}))).ok());
}

TEST_F(ServerTest, DrainsWithoutLosingWhatItAccepted) {
  const auto computing_call = occupy();
  std::vector<std::unique_ptr<Call>> waiting;
  for (int i = 0; i < 3; ++i) waiting.push_back(start("double"));
  wait_for_pending("double", 3);
  server.stop_serving();
  engine.stop(PendingRequest::Clock::now() + 1h);
  EXPECT_EQ(health(), kNotServing);
  grpc::ClientContext context;
  inference::ServerReadyResponse ready;
  ASSERT_TRUE(stub->ServerReady(&context, {}, &ready).ok());
  EXPECT_FALSE(ready.ready());
  EXPECT_EQ(infer(message_of(prediction_of({1, 2}))).error_code(), StatusCode::UNAVAILABLE);
  gate->open();
  EXPECT_TRUE(computing_call->status.get().ok());
  for (const auto& call : waiting) EXPECT_TRUE(call->status.get().ok());
}

TEST_F(ServerTest, AnswersManyClientsAtOnceEachItsOwnAnswer) {
  std::vector<std::future<void>> clients;
  for (int i = 0; i < 4; ++i) {
    clients.push_back(std::async(std::launch::async, [this, i] {
      Client client(server.address());
      for (int round = 0; round < 25; ++round) {
        const auto number = static_cast<float>(100 * i + round);
        EXPECT_EQ(to_host<float>(client.predict("double", prediction_of({number, 1}))), (std::vector<float>{2 * number, 2}));
      }
    }));
  }
  for (auto& client : clients) client.get();
  EXPECT_EQ(engine.find("double", "").statistics->snapshot().success.count, 100);
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
  EXPECT_EQ(everything.model_stats_size(), 2);
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
}

TEST_F(ServerTest, DoesNotWaitForThoseWhoWatchItsHealth) {
  auto other = std::make_unique<Server>(engine, "127.0.0.1:0");
  grpc::GenericStub generic(grpc::CreateChannel(other->address(), grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  void* tag = nullptr;
  bool ok = false;
  const auto watch = generic.PrepareCall(&context, "/grpc.health.v1.Health/Watch", &queue);
  watch->StartCall(nullptr);
  queue.Next(&tag, &ok);
  const grpc::Slice nothing;
  watch->Write(grpc::ByteBuffer(&nothing, 1), grpc::WriteOptions().set_last_message(), nullptr);
  queue.Next(&tag, &ok);
  grpc::ByteBuffer reply;
  watch->Read(&reply, nullptr);
  queue.Next(&tag, &ok);
  EXPECT_TRUE(ok);
  const auto started = PendingRequest::Clock::now();
  other.reset();
  EXPECT_LT(PendingRequest::Clock::now() - started, 30s);
  context.TryCancel();
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
    EXPECT_NE(std::string(error.what()).find("model \"triple\": not served here; there is: double, held"), std::string::npos)
        << error.what();
  }
  EXPECT_THROW(Client("127.0.0.1:1").predict("double", prediction_of({1, 2})), CommunicationError);
}

}  // namespace
}  // namespace trident
