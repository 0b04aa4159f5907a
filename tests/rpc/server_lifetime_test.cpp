/// Queue, cancellation, clients that vanish and the end of the service, as its clients see them.
#include <arpa/inet.h>
#include <fcntl.h>
#include <grpcpp/create_channel_posix.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rpc/client.h"
#include "tests/rpc/server_fixture.h"

namespace trident {
namespace {

class ServerLifetimeTest : public ServerTest {};

TEST_F(ServerLifetimeTest, RefusesWhatDoesNotFitIntoTheQueue) {
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

TEST_F(ServerLifetimeTest, DoesNotComputeWhatIsCancelledOrTooLate) {
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

TEST_F(ServerLifetimeTest, HonoursTheTimeoutOfARequest) {
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

TEST_F(ServerLifetimeTest, InterruptsARollOutBetweenItsSteps) {
  const auto cancelled = start("slow", 1h, kManySteps);
  slow_gate->wait_for_arrivals(1);
  cancelled->context.TryCancel();
  EXPECT_EQ(cancelled->status.get().error_code(), StatusCode::CANCELLED);
  wait_for_failures("slow", 1);  // the server noticed as well

  EXPECT_EQ(start("slow", 100ms, kManySteps)->status.get().error_code(), StatusCode::DEADLINE_EXCEEDED);
  wait_for_failures("slow", 2);

  ModelInferRequest request = message_of(prediction_of({1, 2}), "slow");
  (*request.mutable_parameters())["steps"].set_int64_param(kManySteps);
  (*request.mutable_parameters())["timeout"].set_int64_param(20'000);
  EXPECT_EQ(infer(request).error_code(), StatusCode::DEADLINE_EXCEEDED);  // of the server's making
  EXPECT_TRUE(infer(message_of(prediction_of({1, 2}), "slow")).ok());
}

TEST_F(ServerLifetimeTest, InterruptsARollOutWhenTheTimeToDrainIsOver) {
  const auto rolling = start("slow", 1h, kManySteps);
  slow_gate->wait_for_arrivals(1);
  server.stop_serving();
  engine.stop(PendingRequest::Clock::now() + 20ms);
  EXPECT_EQ(rolling->status.get().error_code(), StatusCode::UNAVAILABLE);
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

TEST_F(ServerLifetimeTest, ForgetsClientsThatVanish) {
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

TEST_F(ServerLifetimeTest, SurvivesAClientThatVanishesWhileItIsServed) {
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

TEST_F(ServerLifetimeTest, DrainsWithoutLosingWhatItAccepted) {
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

TEST_F(ServerLifetimeTest, AnswersManyClientsAtOnceEachItsOwnAnswer) {
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

TEST_F(ServerLifetimeTest, DoesNotWaitForThoseWhoWatchItsHealth) {
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

}  // namespace
}  // namespace trident
