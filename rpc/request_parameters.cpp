#include "rpc/request_parameters.h"

#include <limits>

#include "rpc/inference.pb.h"
#include "rpc/request_error.h"

namespace trident {
namespace {

using inference::InferParameter;

const char* kind_of(const InferParameter& value) {
  switch (value.parameter_choice_case()) {
    case InferParameter::kBoolParam:
      return "bool_param";
    case InferParameter::kInt64Param:
      return "int64_param";
    case InferParameter::kStringParam:
      return "string_param";
    case InferParameter::kDoubleParam:
      return "double_param";
    case InferParameter::kUint64Param:
      return "uint64_param";
    default:
      return "no value";
  }
}

[[noreturn]] void refuse(const std::string& name, const std::string& found, const char* expected) {
  throw RequestError(Code::invalid_argument, concat("parameter \"", name, "\": got ", found, "; expected ", expected));
}

/// A whole number of at least `least`, in either of the integer fields.
std::int64_t whole_number(const std::string& name, const InferParameter& value, std::int64_t least, const char* expected) {
  std::int64_t number = 0;
  if (value.has_int64_param()) {
    number = value.int64_param();
  } else if (value.has_uint64_param()) {
    constexpr auto most = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    if (value.uint64_param() > most) refuse(name, std::to_string(value.uint64_param()), expected);
    number = static_cast<std::int64_t>(value.uint64_param());
  } else {
    refuse(name, kind_of(value), expected);
  }
  if (number < least) refuse(name, std::to_string(number), expected);
  return number;
}

const std::string& text(const std::string& name, const InferParameter& value) {
  if (!value.has_string_param()) refuse(name, kind_of(value), "string_param");
  return value.string_param();
}

/// Whether Triton reserves the name; throws if the value has another type than Triton's.
bool is_reserved(const std::string& name, const InferParameter& value) {
  if (name == "sequence_id") {
    if (!value.has_int64_param() && !value.has_string_param()) refuse(name, kind_of(value), "int64_param or string_param");
    return true;
  }
  if (name == "sequence_start" || name == "sequence_end" || name == "binary_data_output" || name == "triton_enable_empty_final_response") {
    if (!value.has_bool_param()) refuse(name, kind_of(value), "bool_param");
    return true;
  }
  if (name == "priority") {
    // Any uint64 is a level; int64 has room for negative numbers, which are none.
    if (!value.has_uint64_param()) whole_number(name, value, 0, "uint64_param, or int64_param of at least 0");
    return true;
  }
  return name == "headers";
}

}  // namespace

RequestParameters read_parameters(const inference::ModelInferRequest& request) {
  RequestParameters result;
  for (const auto& [name, value] : request.parameters()) {
    if (name == "steps") {
      result.steps = whole_number(name, value, 1, "int64_param of at least 1");
    } else if (name == "problem") {
      result.problem = text(name, value);
    } else if (name == "timeout") {
      result.timeout = std::chrono::microseconds(whole_number(name, value, 0, "int64_param of at least 0, in microseconds"));
    } else if (!is_reserved(name, value)) {
      throw RequestError(Code::invalid_argument,
                         concat("parameter \"", name, "\": unknown; the parameters of a prediction are \"steps\" and \"problem\""));
    }
  }
  return result;
}

}  // namespace trident
