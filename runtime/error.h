/// Errors: every message says where, what (with the values) and what to do; the type says who must act.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace trident {

/// Base of all errors that Trident raises itself. Programs catch this one; the rpc folder maps the kinds to gRPC status codes.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Tensors that do not fit each other or an operation.
class ShapeError : public Error {
  using Error::Error;
};
/// A run file, a model configuration or a command line that cannot be meant.
class ConfigError : public Error {
  using Error::Error;
};
/// Data files that are missing, damaged, or not what the run file says.
class DataError : public Error {
  using Error::Error;
};
/// Model files and checkpoints that are missing, damaged, or of another model.
class CheckpointError : public Error {
  using Error::Error;
};
/// A device that is absent, out of memory, or failing.
class DeviceError : public Error {
  using Error::Error;
};
/// Other ranks that do not answer, or disagree.
class CommunicationError : public Error {
  using Error::Error;
};

/// The arguments printed one after the other.
template <class... Parts>
std::string concat(const Parts&... parts) {
  std::ostringstream out;
  out.precision(17);
  (out << ... << parts);
  return out.str();
}

}  // namespace trident
