/// Why a request is not answered, without gRPC types.
#pragma once

#include <exception>
#include <string>

#include "runtime/error.h"

namespace trident {

/// The status codes of gRPC that the service uses.
enum class Code {
  ok,
  cancelled,           // the client went away before the answer was complete
  invalid_argument,    // malformed, or not what the model takes: sending it again does not help
  deadline_exceeded,   // its time was over before the answer was complete
  not_found,           // no such model or version
  resource_exhausted,  // the queue or the memory is full: later it may succeed
  unimplemented,       // parts of the protocol that are not served
  internal,            // our fault
  unavailable,         // the server is stopping
};

class RequestError : public Error {
 public:
  RequestError(Code code, const std::string& message) : Error(message), code_(code) {}
  Code code() const { return code_; }

 private:
  Code code_;
};

/// The end of one request: ok, or what went wrong.
struct Outcome {
  Code code = Code::ok;
  std::string message;
};

/// What an exception that was thrown while a request was checked or computed means to its sender.
Outcome outcome_of(const std::exception_ptr& error);

}  // namespace trident
