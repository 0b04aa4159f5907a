/// A client of the service: predictions by a model that runs elsewhere.
#pragma once

#include <memory>
#include <string>

#include "models/model_description.h"
#include "models/prediction.h"

namespace trident {

namespace build {
#ifdef TRIDENT_WITH_GRPC
inline constexpr bool kHasGrpc = true;
#else
inline constexpr bool kHasGrpc = false;
#endif
}  // namespace build

class Client {
 public:
  /// "HOST:PORT" or "unix:PATH". Connects with the first call.
  explicit Client(const std::string& address);
  ~Client();
  Client(Client&&) noexcept;
  Client& operator=(Client&&) noexcept;

  /// What the model called `model` answers there, as the same prediction here would. Throws ConfigError where the server refuses the
  /// request, CommunicationError where it cannot be reached or does not answer.
  Tensor predict(const std::string& model, const PredictionRequest& request);
  /// The problems that the model was trained on there; none if it does not say. Throws as predict() does.
  ModelDescription description(const std::string& model);

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace trident
