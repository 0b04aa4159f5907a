#include "rpc/client.h"

#include <grpcpp/grpcpp.h>

#include <limits>

#include "rpc/engine.h"
#include "rpc/inference.grpc.pb.h"
#include "rpc/tensor_codec.h"

namespace trident {

struct Client::Implementation {
  std::string address;
  std::unique_ptr<inference::GRPCInferenceService::Stub> stub;
};

Client::Client(const std::string& address) : implementation_(std::make_unique<Implementation>()) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(std::numeric_limits<int>::max());
  arguments.SetMaxSendMessageSize(std::numeric_limits<int>::max());
  implementation_->address = address;
  implementation_->stub =
      inference::GRPCInferenceService::NewStub(grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments));
}

Client::~Client() = default;
Client::Client(Client&&) noexcept = default;
Client& Client::operator=(Client&&) noexcept = default;

Tensor Client::predict(const std::string& model, const PredictionRequest& request) {
  const std::string where = concat("server ", implementation_->address, ", model \"", model, "\"");
  constexpr std::int64_t most = std::numeric_limits<std::int32_t>::max();
  if (bytes_of(request) > most) {
    throw ConfigError(
        concat(where, ": the request has ", bytes_of(request), " bytes, and a message carries at most ", most, "; send a smaller batch"));
  }
  inference::ModelInferRequest message;
  encode_request(request, model, &message);
  inference::ModelInferResponse reply;
  grpc::ClientContext context;
  const grpc::Status status = implementation_->stub->ModelInfer(&context, message, &reply);
  if (status.ok()) return decode_reply(std::move(reply));
  switch (status.error_code()) {
    case grpc::StatusCode::INVALID_ARGUMENT:
    case grpc::StatusCode::NOT_FOUND:
    case grpc::StatusCode::UNIMPLEMENTED:
      throw ConfigError(concat(where, ": ", status.error_message()));
    default:
      throw CommunicationError(concat(where, ": ", status.error_message(), " (gRPC status ", static_cast<int>(status.error_code()),
                                      "); is the server up, and the address right?"));
  }
}

}  // namespace trident
