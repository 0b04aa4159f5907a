#include "rpc/client.h"

#include <grpcpp/grpcpp.h>

#include <limits>

#include "rpc/engine.h"
#include "rpc/inference.grpc.pb.h"
#include "rpc/tensor_codec.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/view.h"

namespace trident {

struct Client::Implementation {
  std::string address;
  std::unique_ptr<inference::GRPCInferenceService::Stub> stub;

  std::string place_of(const std::string& model) const { return concat("server ", address, ", model \"", model, "\""); }
};

namespace {

/// What the server refuses is for whoever asked; all else is a matter of the way there.
void require_ok(const grpc::Status& status, const std::string& where) {
  if (status.ok()) return;
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

}  // namespace

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
  const std::string where = implementation_->place_of(model);
  constexpr std::int64_t most = std::numeric_limits<std::int32_t>::max();
  if (bytes_of(request) > most) {
    throw ConfigError(
        concat(where, ": the request has ", bytes_of(request), " bytes, and a message carries at most ", most, "; send a smaller batch"));
  }
  // The protocol has no complex type: parts travel on a last axis of 2.
  const bool complex = is_complex(request.input.dtype());
  PredictionRequest sent = request;
  if (complex) sent.input = view::as_real(packed(request.input));
  inference::ModelInferRequest message;
  encode_request(sent, model, &message);
  inference::ModelInferResponse reply;
  grpc::ClientContext context;
  require_ok(implementation_->stub->ModelInfer(&context, message, &reply), where);
  const Tensor output = decode_reply(std::move(reply));
  return complex ? view::as_complex(packed(output)) : output;
}

ModelDescription Client::description(const std::string& model) {
  inference::ModelConfigRequest message;
  message.set_name(model);
  inference::ModelConfigResponse reply;
  grpc::ClientContext context;
  const std::string where = implementation_->place_of(model);
  require_ok(implementation_->stub->ModelConfig(&context, message, &reply), where);
  const auto found = reply.config().parameters().find(kProblemsParameter);
  if (found == reply.config().parameters().end()) return {};
  return read_model_description(parse_json(found->second.string_value(), where));
}

}  // namespace trident
