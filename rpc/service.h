/// The service of inference.proto, answered by an engine.
#pragma once

#include <memory>

namespace grpc {
class Service;
}

namespace trident {

class Engine;

/// Never blocks a thread of the gRPC library. The engine outlives it, and every call.
std::unique_ptr<grpc::Service> make_service(Engine& engine);

}  // namespace trident
