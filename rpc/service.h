/// The service of inference.proto, answered by an engine.
#pragma once

#include <atomic>
#include <memory>

namespace grpc {
class Service;
}

namespace trident {

class Engine;

/// Never blocks a thread of the gRPC library. `under_way` counts the predictions that have not been answered and sent. Both arguments
/// outlive the service, and every call.
std::unique_ptr<grpc::Service> make_service(Engine& engine, std::atomic<int>& under_way);

}  // namespace trident
