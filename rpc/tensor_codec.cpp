#include "rpc/tensor_codec.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include "rpc/engine.h"
#include "rpc/inference.pb.h"
#include "rpc/request_error.h"
#include "rpc/request_parameters.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

using inference::InferTensorContents;
using inference::ModelInferRequest;
using inference::ModelInferResponse;
using InputTensor = inference::ModelInferRequest::InferInputTensor;

static_assert(std::endian::native == std::endian::little, "raw contents are little-endian, and are not converted");

[[noreturn]] void refuse(const std::string& tensor, const std::string& why) {
  throw RequestError(Code::invalid_argument, concat("tensor \"", tensor, "\": ", why));
}

/// Elements of a tensor as they lie in the request.
struct Elements {
  const void* data = nullptr;
  std::int64_t bytes = 0;
};

template <class Numbers>
Elements elements_of(const Numbers& numbers) {
  return {numbers.data(), static_cast<std::int64_t>(numbers.size() * sizeof(*numbers.data()))};
}

void check_no_parameters(const std::string& tensor, const google::protobuf::Map<std::string, inference::InferParameter>& parameters) {
  for (const auto& [name, value] : parameters) {
    if (name.starts_with("shared_memory_") || name == "classification") {
      throw RequestError(Code::unimplemented, concat("tensor \"", tensor, "\": parameter \"", name,
                                                     "\" is not served; send and receive whole tensors in the messages"));
    }
    refuse(tensor, concat("unknown parameter \"", name, "\"; tensors have none here"));
  }
}

/// The number type of a tensor that may have one of `allowed`.
DType dtype_of_input(const InputTensor& tensor, std::initializer_list<DType> allowed) {
  std::string names;
  for (const DType dtype : allowed) {
    if (tensor.datatype() == protocol_name_of(dtype)) return dtype;
    names += (names.empty() ? "" : " or ") + std::string(protocol_name_of(dtype));
  }
  refuse(tensor.name(), concat("datatype \"", tensor.datatype(), "\"; expected ", names));
}

Shape shape_of_input(const InputTensor& tensor) {
  if (tensor.shape_size() < 1 || tensor.shape_size() > Shape::kMaxRank) {
    refuse(tensor.name(), concat("its shape has ", tensor.shape_size(), " extents; expected 1 to ", Shape::kMaxRank));
  }
  const Shape shape(std::span<const std::int64_t>(tensor.shape().data(), static_cast<std::size_t>(tensor.shape_size())));
  if (std::any_of(shape.begin(), shape.end(), [](std::int64_t extent) { return extent < 1; })) {
    refuse(tensor.name(), concat("shape ", to_string(shape), "; every extent must be at least 1"));
  }
  return shape;
}

/// The field of typed contents that holds numbers of this type.
Elements typed_elements(const InputTensor& tensor, DType dtype) {
  const InferTensorContents& contents = tensor.contents();
  std::vector<const google::protobuf::FieldDescriptor*> filled;
  contents.GetReflection()->ListFields(contents, &filled);
  if (filled.size() > 1) {
    refuse(tensor.name(), concat("contents in both ", filled[0]->name(), " and ", filled[1]->name(), "; fill the field of its datatype"));
  }
  if (dtype == DType::f32) return elements_of(contents.fp32_contents());
  if (dtype == DType::f64) return elements_of(contents.fp64_contents());
  return elements_of(contents.bool_contents());
}

/// A view on the elements where they are aligned for their type, else a copy.
Tensor view_or_copy(const Elements& elements, const Shape& shape, DType dtype) {
  if (reinterpret_cast<std::uintptr_t>(elements.data) % size_of(dtype) == 0) {
    return from_memory(const_cast<void*>(elements.data), shape, dtype, nullptr);  // tensors have no read-only views; inputs are not written
  }
  Tensor copy = empty(shape, dtype);
  std::memcpy(copy.bytes(), elements.data, static_cast<std::size_t>(elements.bytes));
  return copy;
}

Tensor decode_input(const InputTensor& tensor, std::initializer_list<DType> allowed, const Elements* raw) {
  check_no_parameters(tensor.name(), tensor.parameters());
  const DType dtype = dtype_of_input(tensor, allowed);
  const Shape shape = shape_of_input(tensor);
  const Elements elements = raw != nullptr ? *raw : typed_elements(tensor, dtype);
  const auto element_bytes = static_cast<std::int64_t>(size_of(dtype));
  const std::int64_t count = numel(shape);  // throws where it leaves 63 bits
  if (elements.bytes % element_bytes != 0 || elements.bytes / element_bytes != count) {
    refuse(tensor.name(),
           concat("input byte size mismatch: shape ", to_string(shape), " in ", tensor.datatype(), " has ", count, " elements of ",
                  element_bytes, " bytes; got ", elements.bytes, " bytes of ", raw != nullptr ? "raw_input_contents" : "typed contents"));
  }
  if (dtype == DType::boolean) {
    const auto* const bytes = static_cast<const unsigned char*>(elements.data);
    if (std::any_of(bytes, bytes + elements.bytes, [](unsigned char byte) { return byte > 1; })) {
      refuse(tensor.name(), "a byte is neither 0 nor 1; BOOL has no other values");
    }
  }
  return view_or_copy(elements, shape, dtype);
}

template <class Message>
void describe_tensor(const char* name, const Tensor& x, Message* tensor) {
  tensor->set_name(name);
  tensor->set_datatype(protocol_name_of(x.dtype()));
  tensor->mutable_shape()->Add(x.shape().begin(), x.shape().end());
}

}  // namespace

const char* protocol_name_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "FP32";
    case DType::f64:
      return "FP64";
    case DType::boolean:
      return "BOOL";
    default:
      throw ShapeError(concat("service: numbers of type ", name_of(dtype), " are not sent; convert to f32 or f64"));
  }
}

PredictionRequest decode_request(const ModelInferRequest& request) {
  PredictionRequest result;
  const int num_raw = request.raw_input_contents_size();
  int raw_index = 0;
  for (const InputTensor& tensor : request.inputs()) {
    Tensor* const target = tensor.name() == "input"        ? &result.input
                           : tensor.name() == "time"       ? &result.time
                           : tensor.name() == "pixel_mask" ? &result.pixel_mask
                                                           : nullptr;
    if (target == nullptr) refuse(tensor.name(), "unknown; the inputs are \"input\", \"time\" and \"pixel_mask\"");
    if (target->defined()) refuse(tensor.name(), "sent twice");
    if (num_raw > 0 && tensor.contents().ByteSizeLong() > 0) {
      refuse(tensor.name(), "typed contents beside raw_input_contents; send one or the other");
    }
    Elements raw;
    if (num_raw > 0) {
      if (raw_index == num_raw) refuse(tensor.name(), concat("only ", num_raw, " raw_input_contents; expected one for each input"));
      raw = elements_of(request.raw_input_contents(raw_index++));
    }
    const Elements* const raw_or_typed = num_raw > 0 ? &raw : nullptr;
    *target = target == &result.pixel_mask ? decode_input(tensor, {DType::boolean}, raw_or_typed)
                                           : decode_input(tensor, {DType::f32, DType::f64}, raw_or_typed);
  }
  if (!result.input.defined()) refuse("input", "missing; every request has it");
  if (raw_index < num_raw) {
    throw RequestError(Code::invalid_argument,
                       concat("raw_input_contents: ", num_raw, " entries for ", raw_index, " inputs; expected one for each input"));
  }
  return result;
}

void check_requested_outputs(const ModelInferRequest& request) {
  for (const auto& output : request.outputs()) {
    if (output.name() != "output") refuse(output.name(), "unknown; the output is \"output\"");
    check_no_parameters(output.name(), output.parameters());
  }
  if (request.outputs_size() > 1) refuse("output", "requested twice");
}

void describe_reply(const Tensor& output, const ModelInferRequest& request, ModelInferResponse* reply) {
  reply->set_model_name(request.model_name());
  reply->set_model_version(kModelVersion);
  reply->set_id(request.id());
  describe_tensor("output", output, reply->add_outputs());
}

void encode_request(const PredictionRequest& prediction, const std::string& model, ModelInferRequest* request) {
  request->set_model_name(model);
  const auto add = [request](const char* name, const Tensor& x) {
    if (!x.defined()) return;
    describe_tensor(name, x, request->add_inputs());
    const Tensor rows = packed(x);
    request->add_raw_input_contents(reinterpret_cast<const char*>(rows.bytes()), static_cast<std::size_t>(rows.num_bytes()));
  };
  add("input", prediction.input);
  add("time", prediction.time);
  add("pixel_mask", prediction.pixel_mask);
  if (prediction.steps) (*request->mutable_parameters())["steps"].set_int64_param(*prediction.steps);
  if (!prediction.problem.empty()) (*request->mutable_parameters())["problem"].set_string_param(prediction.problem);
}

Tensor decode_reply(ModelInferResponse reply) {
  const auto kept = std::make_shared<ModelInferResponse>(std::move(reply));
  if (kept->outputs_size() != 1 || kept->raw_output_contents_size() != 1 || kept->outputs(0).name() != "output") {
    throw CommunicationError(concat("reply: ", kept->outputs_size(), " outputs and ", kept->raw_output_contents_size(),
                                    " raw contents; expected one, named \"output\"; is the server Trident's?"));
  }
  const auto& tensor = kept->outputs(0);
  const bool is_f64 = tensor.datatype() == "FP64";
  const DType dtype = is_f64 ? DType::f64 : DType::f32;
  const Shape shape(std::span<const std::int64_t>(tensor.shape().data(), static_cast<std::size_t>(tensor.shape_size())));
  std::string& bytes = *kept->mutable_raw_output_contents(0);
  if ((!is_f64 && tensor.datatype() != "FP32") || static_cast<std::size_t>(numel(shape)) != bytes.size() / size_of(dtype) ||
      bytes.size() % size_of(dtype) != 0) {
    throw CommunicationError(concat("reply: output ", to_string(shape), " in ", tensor.datatype(), " with ", bytes.size(),
                                    " bytes; expected FP32 or FP64 and the bytes of its shape"));
  }
  return from_memory(bytes.data(), shape, dtype, kept);
}

}  // namespace trident
