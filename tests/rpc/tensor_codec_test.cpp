#include "rpc/tensor_codec.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include <google/protobuf/stubs/logging.h>

#include "rpc/inference.pb.h"
#include "rpc/request_error.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

using inference::ModelInferRequest;
using inference::ModelInferResponse;

Code code_of(const ModelInferRequest& request) {
  try {
    decode_request(request);
    check_requested_outputs(request);
  } catch (...) {
    return outcome_of(std::current_exception()).code;
  }
  return Code::ok;
}

ModelInferRequest::InferInputTensor* add_input(ModelInferRequest& request, const std::string& name, const std::string& datatype,
                                               const std::vector<std::int64_t>& shape) {
  auto* const tensor = request.add_inputs();
  tensor->set_name(name);
  tensor->set_datatype(datatype);
  tensor->mutable_shape()->Add(shape.begin(), shape.end());
  return tensor;
}

template <class T>
std::string bytes_of_values(const std::vector<T>& values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

/// input (1, 2, 1, 2) raw, time (1,) raw, pixel_mask (1, 2) raw.
ModelInferRequest valid_request() {
  ModelInferRequest request;
  add_input(request, "input", "FP32", {1, 2, 1, 2});
  request.add_raw_input_contents(bytes_of_values<float>({1, 2, 3, 4}));
  add_input(request, "time", "FP64", {1});
  request.add_raw_input_contents(bytes_of_values<double>({0.5}));
  add_input(request, "pixel_mask", "BOOL", {1, 2});
  request.add_raw_input_contents(std::string("\0\1", 2));
  return request;
}

TEST(TensorCodec, ReadsRawContents) {
  const ModelInferRequest request = valid_request();
  const PredictionRequest prediction = decode_request(request);
  EXPECT_EQ(prediction.input.shape(), (Shape{1, 2, 1, 2}));
  EXPECT_EQ(to_host<float>(prediction.input), (std::vector<float>{1, 2, 3, 4}));
  EXPECT_EQ(to_host<double>(prediction.time), std::vector<double>{0.5});
  EXPECT_EQ(prediction.pixel_mask.data<bool>()[0], false);
  EXPECT_EQ(prediction.pixel_mask.data<bool>()[1], true);
}

TEST(TensorCodec, ReadsTypedContents) {
  ModelInferRequest request;
  for (const double value : {1.0, 2.0, 3.0, 4.0}) {
    if (request.inputs_size() == 0) add_input(request, "input", "FP64", {1, 2, 1, 2});
    request.mutable_inputs(0)->mutable_contents()->add_fp64_contents(value);
  }
  add_input(request, "time", "FP32", {1, 1})->mutable_contents()->add_fp32_contents(0.5F);
  add_input(request, "pixel_mask", "BOOL", {1, 1})->mutable_contents()->add_bool_contents(true);
  const PredictionRequest prediction = decode_request(request);
  EXPECT_EQ(to_host<double>(prediction.input), (std::vector<double>{1, 2, 3, 4}));
  EXPECT_EQ(to_host<float>(prediction.time), std::vector<float>{0.5F});
  EXPECT_TRUE(prediction.pixel_mask.data<bool>()[0]);
}

TEST(TensorCodec, ViewsTheBytesOfTheRequest) {
  const ModelInferRequest request = valid_request();
  EXPECT_EQ(static_cast<const void*>(decode_request(request).input.bytes()), request.raw_input_contents(0).data());
}

TEST(TensorCodec, AnswersWhatItRead) {
  const ModelInferRequest request = [] {
    ModelInferRequest result = valid_request();
    result.set_model_name("m");
    result.set_id("42");
    return result;
  }();
  const Tensor input = decode_request(request).input;
  ModelInferResponse reply;
  describe_reply(input, request, &reply);
  EXPECT_EQ(reply.model_name(), "m");
  EXPECT_EQ(reply.model_version(), "1");
  EXPECT_EQ(reply.id(), "42");
  EXPECT_EQ(reply.outputs(0).name(), "output");
  EXPECT_EQ(reply.outputs(0).datatype(), "FP32");
  reply.add_raw_output_contents(request.raw_input_contents(0));
  const Tensor output = decode_reply(std::move(reply));
  EXPECT_EQ(output.shape(), (Shape{1, 2, 1, 2}));
  EXPECT_EQ(to_host<float>(output), (std::vector<float>{1, 2, 3, 4}));
}

TEST(TensorCodec, RequestsSurviveTheWay) {
  const ModelInferRequest source = valid_request();
  PredictionRequest prediction = decode_request(source);
  prediction.steps = 3;
  prediction.problem = "NS-Sines";
  ModelInferRequest request;
  encode_request(prediction, "m", &request);
  EXPECT_EQ(request.model_name(), "m");
  EXPECT_EQ(request.parameters().at("steps").int64_param(), 3);
  EXPECT_EQ(request.parameters().at("problem").string_param(), "NS-Sines");
  const PredictionRequest again = decode_request(request);
  EXPECT_EQ(to_host<float>(again.input), to_host<float>(prediction.input));
  EXPECT_EQ(again.time.dtype(), DType::f64);
  EXPECT_EQ(again.pixel_mask.shape(), (Shape{1, 2}));
}

/// One way to spoil valid_request().
struct Spoiled {
  const char* what;
  void (*spoil)(ModelInferRequest&);
  Code code = Code::invalid_argument;
};

const Spoiled kSpoiled[] = {
    {"an input that nobody knows", [](ModelInferRequest& r) { r.mutable_inputs(1)->set_name("lead_time"); }},
    {"an input twice", [](ModelInferRequest& r) { r.mutable_inputs(1)->set_name("input"); }},
    {"no input",
     [](ModelInferRequest& r) { r.mutable_inputs()->DeleteSubrange(0, 1), r.mutable_raw_input_contents()->DeleteSubrange(0, 1); }},
    {"nothing at all", [](ModelInferRequest& r) { r.Clear(); }},
    {"another number type", [](ModelInferRequest& r) { r.mutable_inputs(0)->set_datatype("INT32"); }},
    {"a number type that does not exist", [](ModelInferRequest& r) { r.mutable_inputs(0)->set_datatype("fp32"); }},
    {"a mask of floats", [](ModelInferRequest& r) { r.mutable_inputs(2)->set_datatype("FP32"); }},
    {"one byte too few", [](ModelInferRequest& r) { r.mutable_raw_input_contents(0)->pop_back(); }},
    {"one number too many", [](ModelInferRequest& r) { r.mutable_raw_input_contents(0)->append(4, '\0'); }},
    {"no bytes", [](ModelInferRequest& r) { r.mutable_raw_input_contents(0)->clear(); }},
    {"a raw entry too few", [](ModelInferRequest& r) { r.mutable_raw_input_contents()->RemoveLast(); }},
    {"a raw entry too many", [](ModelInferRequest& r) { r.add_raw_input_contents(std::string(1, 'x')); }},
    {"typed beside raw contents", [](ModelInferRequest& r) { r.mutable_inputs(1)->mutable_contents()->add_fp64_contents(0.5); }},
    {"typed contents in the wrong field",
     [](ModelInferRequest& r) {
       r.clear_raw_input_contents();
       r.mutable_inputs()->DeleteSubrange(1, 2);
       for (int i = 0; i < 4; ++i) r.mutable_inputs(0)->mutable_contents()->add_fp64_contents(i);
     }},
    {"typed contents in two fields",
     [](ModelInferRequest& r) {
       r.clear_raw_input_contents();
       r.mutable_inputs()->DeleteSubrange(1, 2);
       for (int i = 0; i < 4; ++i) r.mutable_inputs(0)->mutable_contents()->add_fp32_contents(i);
       r.mutable_inputs(0)->mutable_contents()->add_int_contents(1);
     }},
    {"a negative extent", [](ModelInferRequest& r) { r.mutable_inputs(0)->set_shape(0, -1); }},
    {"two negative extents", [](ModelInferRequest& r) { r.mutable_inputs(0)->set_shape(0, -1), r.mutable_inputs(0)->set_shape(1, -2); }},
    {"an empty batch", [](ModelInferRequest& r) { r.mutable_inputs(0)->set_shape(0, 0), r.mutable_raw_input_contents(0)->clear(); }},
    {"no shape", [](ModelInferRequest& r) { r.mutable_inputs(0)->clear_shape(); }},
    {"nine extents",
     [](ModelInferRequest& r) {
       for (int i = 0; i < 5; ++i) r.mutable_inputs(0)->add_shape(1);
     }},
    {"extents whose product wraps around to 4",
     [](ModelInferRequest& r) { r.mutable_inputs(0)->set_shape(0, (std::int64_t{1} << 62) + 1); }},
    {"elements whose bytes wrap around to 16",
     [](ModelInferRequest& r) { r.mutable_inputs(0)->set_shape(0, (std::int64_t{1} << 60) + 1); }},
    {"a truth value of 2", [](ModelInferRequest& r) { (*r.mutable_raw_input_contents(2))[0] = 2; }},
    {"a parameter of a tensor", [](ModelInferRequest& r) { (*r.mutable_inputs(0)->mutable_parameters())["scale"].set_double_param(2); }},
    {"another output", [](ModelInferRequest& r) { r.add_outputs()->set_name("hidden"); }},
    {"the output twice", [](ModelInferRequest& r) { r.add_outputs()->set_name("output"), r.add_outputs()->set_name("output"); }},
    {"an input in shared memory",
     [](ModelInferRequest& r) { (*r.mutable_inputs(0)->mutable_parameters())["shared_memory_region"].set_string_param("x"); },
     Code::unimplemented},
    {"classification",
     [](ModelInferRequest& r) {
       r.add_outputs()->set_name("output");
       (*r.mutable_outputs(0)->mutable_parameters())["classification"].set_int64_param(3);
     },
     Code::unimplemented},
};

TEST(TensorCodec, RefusesMalformedRequests) {
  ASSERT_EQ(code_of(valid_request()), Code::ok);
  for (const Spoiled& spoiled : kSpoiled) {
    ModelInferRequest request = valid_request();
    spoiled.spoil(request);
    EXPECT_EQ(code_of(request), spoiled.code) << spoiled.what;
  }
}

TEST(TensorCodec, TakesAnInputIfAndOnlyIfItsShapeHasItsBytes) {
  std::mt19937_64 random(7);
  const std::int64_t extremes[] = {-1,
                                   0,
                                   1,
                                   2,
                                   3,
                                   1 << 16,
                                   std::int64_t{1} << 32,
                                   (std::int64_t{1} << 62) + 1,
                                   std::numeric_limits<std::int64_t>::max(),
                                   std::numeric_limits<std::int64_t>::min()};
  int taken = 0;
  for (int round = 0; round < 20000; ++round) {
    const bool is_f64 = random() % 2 == 0;
    const std::int64_t element = is_f64 ? 8 : 4;
    std::vector<std::int64_t> shape(random() % 10);
    // Mostly small extents, or nearly everything would be refused.
    for (std::int64_t& extent : shape) extent = random() % 8 == 0 ? extremes[random() % std::size(extremes)] : 1 + random() % 2;
    bool fits = !shape.empty() && shape.size() <= 8;
    unsigned __int128 bytes = static_cast<unsigned __int128>(element);
    for (const std::int64_t extent : shape) {
      fits = fits && extent >= 1;
      if (fits) bytes = std::min<unsigned __int128>(bytes * static_cast<std::uint64_t>(extent), 1 << 30);
    }
    std::string raw(random() % 2 == 0 && bytes < 10000 ? static_cast<std::size_t>(bytes) : random() % 1000, '\0');
    fits = fits && bytes == raw.size();
    ModelInferRequest request;
    add_input(request, "input", is_f64 ? "FP64" : "FP32", shape);
    request.add_raw_input_contents(std::move(raw));
    EXPECT_EQ(code_of(request), fits ? Code::ok : Code::invalid_argument) << request.ShortDebugString();
    taken += fits;
  }
  EXPECT_GT(taken, 1000);
}

/// Reads all that a decoded request refers to, for the address sanitizer.
double sum_of(const PredictionRequest& prediction) {
  double sum = 0;
  for (const Tensor& x : {prediction.input, prediction.time, prediction.pixel_mask}) {
    if (!x.defined()) continue;
    EXPECT_EQ(static_cast<std::size_t>(x.num_bytes()), x.storage()->bytes);
    for (std::int64_t i = 0; i < x.num_bytes(); ++i) sum += static_cast<double>(x.bytes()[i]);
  }
  return sum;
}

TEST(TensorCodec, SurvivesDamagedMessages) {
  const google::protobuf::LogSilencer quiet;  // it reports every damaged text
  std::mt19937_64 random(11);
  const std::string valid = valid_request().SerializeAsString();
  int decoded = 0, refused = 0;
  for (int round = 0; round < 50000; ++round) {
    std::string bytes = valid;
    for (std::uint64_t damage = 1 + random() % 3; damage > 0; --damage) {
      const std::size_t at = random() % bytes.size();
      switch (random() % 3) {
        case 0:
          bytes[at] = static_cast<char>(random());
          break;
        case 1:
          bytes.erase(at, 1 + random() % 4);
          break;
        default:
          bytes.insert(at, 1, static_cast<char>(random()));
          break;
      }
      if (bytes.empty()) bytes.push_back('x');
    }
    ModelInferRequest request;
    if (!request.ParseFromString(bytes)) continue;
    try {
      EXPECT_GE(sum_of(decode_request(request)), 0.0);
      ++decoded;
    } catch (const Error&) {
      ++refused;
    }
  }
  EXPECT_GT(decoded, 100);
  EXPECT_GT(refused, 100);
}

TEST(TensorCodec, RefusesRepliesThatAreNotThePromised) {
  const auto reply_with = [](const char* name, const char* datatype, std::int64_t extent, const std::string& bytes) {
    ModelInferResponse reply;
    reply.add_outputs()->set_name(name);
    reply.mutable_outputs(0)->set_datatype(datatype);
    reply.mutable_outputs(0)->add_shape(extent);
    reply.add_raw_output_contents(bytes);
    return reply;
  };
  EXPECT_NO_THROW(decode_reply(reply_with("output", "FP32", 1, "1234")));
  EXPECT_THROW(decode_reply({}), CommunicationError);
  EXPECT_THROW(decode_reply(reply_with("y", "FP32", 1, "1234")), CommunicationError);
  EXPECT_THROW(decode_reply(reply_with("output", "INT32", 1, "1234")), CommunicationError);
  EXPECT_THROW(decode_reply(reply_with("output", "FP32", 2, "1234")), CommunicationError);
  EXPECT_THROW(decode_reply(reply_with("output", "FP32", 1, "12345")), CommunicationError);
}

}  // namespace
}  // namespace trident
