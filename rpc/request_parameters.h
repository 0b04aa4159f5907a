/// The parameters of a ModelInfer request.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace inference {
class ModelInferRequest;
}

namespace trident {

struct RequestParameters {
  std::optional<std::int64_t> steps;     // of a roll-out
  std::string problem;                   // empty: fields are the model's own numbers
  std::chrono::microseconds timeout{0};  // longest wait in the queue; 0: no limit of its own
};

/// Parameters that Triton reserves are checked for their type, and, but for `timeout`, mean nothing to a server without sequences and
/// priorities. Throws RequestError on the wrong type, on impossible values and on names that nobody knows.
RequestParameters read_parameters(const inference::ModelInferRequest& request);

}  // namespace trident
