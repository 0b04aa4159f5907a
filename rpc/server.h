/// The gRPC server: listens, and hands requests to an engine.
#pragma once

#include <memory>
#include <string>

namespace trident {

class Engine;

class Server {
 public:
  /// Listens at once, as "HOST:PORT" (port 0: any free one) or "unix:PATH". Throws ConfigError if it cannot. The engine outlives it.
  Server(Engine& engine, const std::string& address);
  /// Ends all calls: predictions that are under way have a minute to be answered and sent.
  ~Server();

  /// With the port that was chosen.
  const std::string& address() const;
  /// The health service answers NOT_SERVING from now on; calls are still taken, so that clients hear why.
  void stop_serving();

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace trident
