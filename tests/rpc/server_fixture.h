/// A real server in this process with models that compute nothing, and real gRPC clients.
#pragma once

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "rpc/engine.h"
#include "rpc/inference.grpc.pb.h"
#include "rpc/server.h"
#include "rpc/tensor_codec.h"
#include "tests/rpc/fake_model.h"

namespace trident {

using namespace std::chrono_literals;
using grpc::StatusCode;
using inference::ModelInferRequest;
using inference::ModelInferResponse;
using Stub = inference::GRPCInferenceService::Stub;

inline PredictionRequest prediction_of(const std::vector<float>& numbers) {
  PredictionRequest prediction;
  prediction.input = from_values({1, 2, 1, static_cast<std::int64_t>(numbers.size()) / 2}, numbers);
  return prediction;
}

inline ModelInferRequest message_of(const PredictionRequest& prediction, const std::string& model = "double") {
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
  static constexpr std::int64_t kManySteps = 20'000;  // of "slow": 20 s, unless it is interrupted

  void SetUp() override { slow_gate->open(); }
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

  std::unique_ptr<Call> start(const std::string& model, std::chrono::milliseconds time_left = 1h, std::optional<std::int64_t> steps = {}) {
    auto call = std::make_unique<Call>();
    PredictionRequest prediction = prediction_of({1, 2});
    prediction.steps = steps;
    call->request = message_of(prediction, model);
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
  StatisticsSnapshot sums(const std::string& model) { return engine.find(model, "").statistics->snapshot(); }
  void wait_for_pending(const std::string& model, std::int64_t count) {
    while (sums(model).pending != count) std::this_thread::sleep_for(1ms);
  }
  void wait_for_failures(const std::string& model, std::uint64_t count) {
    while (sums(model).fail.count != count) std::this_thread::sleep_for(1ms);
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
  std::shared_ptr<Gate> slow_gate = std::make_shared<Gate>();
  Engine engine{{fake_model("double"), fake_model("held", gate), fake_model("slow", slow_gate, 1ms)}, {.requests = 4}};
  Server server{engine, "127.0.0.1:0"};
  std::unique_ptr<Stub> stub = inference::GRPCInferenceService::NewStub(channel());
  std::thread computing{[this] { engine.run(); }};
};

}  // namespace trident
