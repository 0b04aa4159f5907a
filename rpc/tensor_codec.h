/// Between the messages of the protocol and tensors.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "models/prediction.h"

namespace inference {
class ModelInferRequest;
class ModelInferResponse;
}  // namespace inference

namespace trident {

/// "FP32", "FP64", "BOOL". Throws ShapeError for number types that the service does not speak.
const char* protocol_name_of(DType dtype);

/// The tensors of a request, checked against their stated names, number types, shapes and bytes, as views on the request's memory where
/// that is aligned (the caller keeps it), with steps and problem. Throws RequestError.
PredictionRequest decode_request(const inference::ModelInferRequest& request);
/// Throws RequestError if the request asks for other outputs than `output`.
void check_requested_outputs(const inference::ModelInferRequest& request);

/// The reply to `request` but for the bytes of the tensor, which are the one entry of its last field.
void describe_reply(const Tensor& output, const inference::ModelInferRequest& request, inference::ModelInferResponse* reply);

/// The client's side: a request that asks `model` for a prediction.
void encode_request(const PredictionRequest& prediction, const std::string& model, inference::ModelInferRequest* request);
/// The output of a reply; takes its bytes. Throws CommunicationError if it is not what the protocol says.
Tensor decode_reply(inference::ModelInferResponse reply);

}  // namespace trident
