#include "rpc/server.h"

#include <google/protobuf/stubs/logging.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/impl/service_type.h>

#include <atomic>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <limits>
#include <thread>

#include "rpc/service.h"
#include "runtime/error.h"

namespace trident {
namespace {

/// Whether a server at this port is what was asked for: of 99999 the library takes the last 16 bits, and without a port one of its own.
bool asks_for(const std::string& text, int port) {
  int asked = -1;
  const char* const end = text.data() + text.size();
  return std::from_chars(text.data(), end, asked).ptr == end && (asked == 0 || asked == port);
}

}  // namespace

struct Server::Implementation {
  std::atomic<int> under_way = 0;  // predictions
  std::unique_ptr<grpc::Service> service;
  std::unique_ptr<grpc::Server> server;
  std::string address;
};

Server::Server(Engine& engine, const std::string& address) : implementation_(std::make_unique<Implementation>()) {
  // Peers could fill the log with their own mistakes; what we do wrong is reported by exceptions. GRPC_VERBOSITY, when set, stands.
  ::setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);
  google::protobuf::SetLogHandler(nullptr);
  grpc::EnableDefaultHealthCheckService(true);
  implementation_->service = make_service(engine, implementation_->under_way);
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(implementation_->service.get());
  builder.SetMaxReceiveMessageSize(std::numeric_limits<int>::max());
  // Two servers on one port would share its connections; the second shall fail instead.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  // Clients on networks that drop silent connections ping; by default they would be cut off for more than one ping in five minutes.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  implementation_->server = builder.BuildAndStart();
  const std::size_t colon = address.rfind(':');
  const bool is_socket = address.starts_with("unix:");
  if (implementation_->server == nullptr || port == 0 || !(is_socket || asks_for(address.substr(colon + 1), port))) {
    throw ConfigError(concat("grpc-address \"", address, "\": cannot listen there; give HOST:PORT of this machine with a free port"));
  }
  implementation_->address = is_socket ? address : address.substr(0, colon + 1) + std::to_string(port);
}

Server::~Server() {
  // Shutting down waits for every call, and those who watch the health service never end by themselves: so replies are waited for first.
  using Clock = std::chrono::system_clock;
  const auto patience = Clock::now() + std::chrono::seconds(60);
  while (implementation_->under_way > 0 && Clock::now() < patience) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  implementation_->server->Shutdown(Clock::now() + std::chrono::milliseconds(200));
}

const std::string& Server::address() const { return implementation_->address; }

void Server::stop_serving() { implementation_->server->GetHealthCheckService()->SetServingStatus(false); }

}  // namespace trident
