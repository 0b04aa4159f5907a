/// The engine's statistics for Prometheus, over HTTP.
#pragma once

#include <memory>
#include <string>

namespace trident {

class Engine;

/// Answers GET /metrics with the names and labels of Triton Inference Server. Numbers are read when they are asked for.
class MetricsServer {
 public:
  /// Listens at "HOST:PORT" (port 0: any free one). Throws ConfigError if it cannot. The engine outlives it.
  MetricsServer(const Engine& engine, const std::string& address);
  ~MetricsServer();

  /// With the port that was chosen.
  const std::string& address() const;

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace trident
