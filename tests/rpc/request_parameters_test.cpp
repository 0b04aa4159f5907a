#include "rpc/request_parameters.h"

#include <gtest/gtest.h>

#include <limits>

#include "rpc/inference.pb.h"
#include "rpc/request_error.h"

namespace trident {
namespace {

using inference::InferParameter;
using inference::ModelInferRequest;

InferParameter of(auto set) {
  InferParameter parameter;
  set(parameter);
  return parameter;
}
InferParameter of_bool(bool value) {
  return of([&](auto& p) { p.set_bool_param(value); });
}
InferParameter of_int(std::int64_t value) {
  return of([&](auto& p) { p.set_int64_param(value); });
}
InferParameter of_uint(std::uint64_t value) {
  return of([&](auto& p) { p.set_uint64_param(value); });
}
InferParameter of_double(double value) {
  return of([&](auto& p) { p.set_double_param(value); });
}
InferParameter of_string(const char* value) {
  return of([&](auto& p) { p.set_string_param(value); });
}

RequestParameters read(const char* name, const InferParameter& value) {
  ModelInferRequest request;
  (*request.mutable_parameters())[name] = value;
  return read_parameters(request);
}

TEST(RequestParameters, AreEmptyByDefault) {
  const RequestParameters parameters = read_parameters({});
  EXPECT_FALSE(parameters.steps);
  EXPECT_EQ(parameters.problem, "");
  EXPECT_EQ(parameters.timeout.count(), 0);
}

TEST(RequestParameters, ReadStepsProblemAndTimeout) {
  EXPECT_EQ(read("steps", of_int(3)).steps, 3);
  EXPECT_EQ(read("steps", of_uint(3)).steps, 3);
  EXPECT_EQ(read("problem", of_string("NS-Sines")).problem, "NS-Sines");
  EXPECT_EQ(read("timeout", of_int(1500)).timeout, std::chrono::microseconds(1500));
}

TEST(RequestParameters, TakeWhatTritonReserves) {
  EXPECT_NO_THROW(read("sequence_id", of_int(1)));
  EXPECT_NO_THROW(read("sequence_id", of_string("a")));
  EXPECT_NO_THROW(read("sequence_start", of_bool(true)));
  EXPECT_NO_THROW(read("sequence_end", of_bool(false)));
  EXPECT_NO_THROW(read("priority", of_int(0)));
  EXPECT_NO_THROW(read("priority", of_uint(std::numeric_limits<std::uint64_t>::max())));
  EXPECT_NO_THROW(read("binary_data_output", of_bool(true)));
  EXPECT_NO_THROW(read("headers", of_string("x")));
  EXPECT_NO_THROW(read("triton_enable_empty_final_response", of_bool(true)));
}

TEST(RequestParameters, RefuseWrongTypesImpossibleValuesAndUnknownNames) {
  const std::pair<const char*, InferParameter> wrong[] = {
      {"steps", of_int(0)},
      {"steps", of_int(-1)},
      {"steps", of_double(2)},
      {"steps", of_string("2")},
      {"steps", of_bool(true)},
      {"steps", InferParameter()},
      {"steps", of_uint(std::numeric_limits<std::uint64_t>::max())},
      {"problem", of_int(1)},
      {"timeout", of_int(-1)},
      {"timeout", of_string("1s")},
      {"priority", of_int(-1)},
      {"priority", of_string("1")},
      {"sequence_id", of_double(1)},
      {"sequence_start", of_int(1)},
      {"triton_enable_empty_final_response", of_int(1)},
      {"triton_final_response", of_bool(true)},
      {"step", of_int(1)},
      {"", of_int(1)},
  };
  for (const auto& [name, value] : wrong) {
    try {
      read(name, value);
      ADD_FAILURE() << name << " " << value.ShortDebugString();
    } catch (const RequestError& error) {
      EXPECT_EQ(error.code(), Code::invalid_argument) << name;
      EXPECT_NE(std::string(error.what()).find(name), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace trident
