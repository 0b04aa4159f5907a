#include "rpc/service.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/wire_format_lite.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "rpc/engine.h"
#include "rpc/inference.grpc.pb.h"
#include "rpc/request_parameters.h"
#include "rpc/tensor_codec.h"
#include "runtime/tensor/copy.h"

namespace trident {
namespace {

using Clock = PendingRequest::Clock;
using grpc::CallbackServerContext;
using grpc::ServerUnaryReactor;

grpc::StatusCode status_code(Code code) {
  switch (code) {
    case Code::ok:
      return grpc::StatusCode::OK;
    case Code::cancelled:
      return grpc::StatusCode::CANCELLED;
    case Code::invalid_argument:
      return grpc::StatusCode::INVALID_ARGUMENT;
    case Code::deadline_exceeded:
      return grpc::StatusCode::DEADLINE_EXCEEDED;
    case Code::not_found:
      return grpc::StatusCode::NOT_FOUND;
    case Code::resource_exhausted:
      return grpc::StatusCode::RESOURCE_EXHAUSTED;
    case Code::unimplemented:
      return grpc::StatusCode::UNIMPLEMENTED;
    case Code::unavailable:
      return grpc::StatusCode::UNAVAILABLE;
    case Code::internal:
      break;
  }
  return grpc::StatusCode::INTERNAL;
}

/// Messages travel in headers, which have a limit of some 8 KiB, and may quote names of any length.
std::string shortened(std::string message) {
  constexpr std::size_t most = 1024;
  if (message.size() <= most) return message;
  std::size_t end = most;
  while ((static_cast<unsigned char>(message[end]) & 0xC0) == 0x80) --end;  // not inside a UTF-8 character
  message.resize(end);
  return message + "...";
}

grpc::Status status_of(const Outcome& outcome) {
  return outcome.code == Code::ok ? grpc::Status::OK : grpc::Status(status_code(outcome.code), shortened(outcome.message));
}

/// When the sender stops waiting, on the engine's clock.
Clock::time_point deadline_of(const CallbackServerContext& context, Clock::time_point arrived, std::chrono::microseconds timeout) {
  // Further away than this is as good as never, and leaves the arithmetic far from overflow.
  constexpr auto never = std::chrono::hours(24 * 365);
  Clock::duration left = never;
  if (timeout.count() > 0) left = std::min<Clock::duration>(left, std::min<std::chrono::microseconds>(timeout, never));
  const auto now = std::chrono::system_clock::now();
  if (context.deadline() < now + never) left = std::min<Clock::duration>(left, context.deadline() - now);
  return arrived + left;
}

/// The bytes of a tensor, kept alive until gRPC has sent them.
grpc::Slice slice_of(const Tensor& packed_tensor) {
  const auto destroy = [](void* tensor) { delete static_cast<Tensor*>(tensor); };
  return {packed_tensor.bytes(), static_cast<std::size_t>(packed_tensor.num_bytes()), destroy, new Tensor(packed_tensor)};
}

/// A reply as it travels. The tensor's bytes are the last field of its message, so they follow the rest without being copied.
grpc::ByteBuffer frame(const inference::ModelInferResponse& description, const Tensor& packed_tensor) {
  using google::protobuf::internal::WireFormatLite;
  using google::protobuf::io::CodedOutputStream;
  std::string head = description.SerializeAsString();
  {
    google::protobuf::io::StringOutputStream stream(&head);
    CodedOutputStream out(&stream);
    out.WriteTag(
        WireFormatLite::MakeTag(inference::ModelInferResponse::kRawOutputContentsFieldNumber, WireFormatLite::WIRETYPE_LENGTH_DELIMITED));
    out.WriteVarint64(static_cast<std::uint64_t>(packed_tensor.num_bytes()));
  }
  const grpc::Slice slices[] = {grpc::Slice(head), slice_of(packed_tensor)};
  return {slices, std::size(slices)};
}

/// One ModelInfer call. The library keeps the messages until OnDone, which comes after finish().
class InferCall final : public ServerUnaryReactor, public PendingRequest {
 public:
  InferCall(Engine& engine, std::atomic<int>& under_way, grpc::ByteBuffer* reply) : engine_(engine), under_way_(under_way), reply_(reply) {
    ++under_way_;
  }
  ~InferCall() override { --under_way_; }

  static ServerUnaryReactor* start(Engine& engine, std::atomic<int>& under_way, const CallbackServerContext& context,
                                   grpc::ByteBuffer* request, grpc::ByteBuffer* reply) {
    auto call = std::make_shared<InferCall>(engine, under_way, reply);
    call->self_ = call;
    try {
      call->read(context, request);
      engine.submit(call);
    } catch (...) {
      const Outcome outcome = outcome_of(std::current_exception());
      if (call->model != nullptr) call->model->statistics->failed(outcome.code, Clock::now() - call->arrived);
      call->finish(outcome);
    }
    return call.get();
  }

  void write(const Tensor& output) override {
    inference::ModelInferResponse description;
    describe_reply(output, request_, &description);
    *reply_ = frame(description, packed(output));
  }

  void finish(const Outcome& outcome) override { Finish(status_of(outcome)); }

  void OnCancel() override { engine_.cancel(*this); }
  void OnDone() override { const std::shared_ptr<InferCall> last = std::move(self_); }

 private:
  void read(const CallbackServerContext& context, grpc::ByteBuffer* bytes) {
    if (!grpc::SerializationTraits<inference::ModelInferRequest>::Deserialize(bytes, &request_).ok()) {
      throw RequestError(Code::invalid_argument, "the message is not a ModelInferRequest of inference.proto");
    }
    model = &engine_.find(request_.model_name(), request_.model_version());
    const RequestParameters parameters = read_parameters(request_);
    check_requested_outputs(request_);
    prediction = decode_request(request_);
    prediction.steps = parameters.steps;
    prediction.problem = parameters.problem;
    deadline = deadline_of(context, arrived, parameters.timeout);
  }

  Engine& engine_;
  std::atomic<int>& under_way_;
  inference::ModelInferRequest request_;
  grpc::ByteBuffer* reply_;
  std::shared_ptr<InferCall> self_;  // until OnDone
};

/// Answers a call at once; exceptions become its status.
template <class Answer>
ServerUnaryReactor* answer(CallbackServerContext* context, Answer&& fill) {
  Outcome outcome;
  try {
    fill();
  } catch (...) {
    outcome = outcome_of(std::current_exception());
  }
  ServerUnaryReactor* const reactor = context->DefaultReactor();
  reactor->Finish(status_of(outcome));
  return reactor;
}

/// The axes of fields after the batch.
std::vector<std::int64_t> field_axes(const ServedDescription& model, int channels) {
  std::vector<std::int64_t> axes{channels};
  axes.insert(axes.end(), static_cast<std::size_t>(model.num_dims), -1);
  if (model.complex) axes.push_back(2);
  return axes;
}

void describe(const ServedDescription& model, inference::ModelMetadataResponse* reply) {
  reply->set_name(model.name);
  reply->add_versions(kModelVersion);
  reply->set_platform("trident");
  const auto add = [](auto* tensors, const char* name, const char* datatype, const std::vector<std::int64_t>& axes) {
    auto* const tensor = tensors->Add();
    tensor->set_name(name);
    tensor->set_datatype(datatype);
    tensor->add_shape(-1);
    tensor->mutable_shape()->Add(axes.begin(), axes.end());
  };
  add(reply->mutable_inputs(), "input", "FP32", field_axes(model, model.num_channels));
  if (model.uses_time) add(reply->mutable_inputs(), "time", "FP32", {1});
  add(reply->mutable_inputs(), "pixel_mask", "BOOL", {model.num_out_channels});
  add(reply->mutable_outputs(), "output", "FP32", field_axes(model, model.num_out_channels));
}

void configure(const ServedDescription& model, inference::ModelConfig* config) {
  config->set_name(model.name);
  config->set_platform("trident");
  config->set_backend("trident");
  config->set_max_batch_size(static_cast<int>(model.max_batch_size));
  config->mutable_model_transaction_policy()->set_decoupled(false);
  const auto add = [](auto* tensors, const char* name, inference::DataType type, const std::vector<std::int64_t>& dims) {
    auto* const tensor = tensors->Add();
    tensor->set_name(name);
    tensor->set_data_type(type);
    tensor->mutable_dims()->Add(dims.begin(), dims.end());
    return tensor;
  };
  add(config->mutable_input(), "input", inference::TYPE_FP32, field_axes(model, model.num_channels));
  if (model.uses_time) add(config->mutable_input(), "time", inference::TYPE_FP32, {1});
  add(config->mutable_input(), "pixel_mask", inference::TYPE_BOOL, {model.num_out_channels})->set_optional(true);
  add(config->mutable_output(), "output", inference::TYPE_FP32, field_axes(model, model.num_out_channels));
  if (!model.problems.empty()) (*config->mutable_parameters())[kProblemsParameter].set_string_value(model.problems);
}

void set(inference::StatisticDuration* target, const DurationSum& sum) {
  target->set_count(sum.count);
  target->set_ns(static_cast<std::uint64_t>(sum.total.count()));
}

void set_compute(auto* target, const ComputeTimes& times) {
  set(target->mutable_compute_input(), times.input);
  set(target->mutable_compute_infer(), times.infer);
  set(target->mutable_compute_output(), times.output);
}

void report(const ServedModel& model, inference::ModelStatistics* target) {
  const StatisticsSnapshot sums = model.statistics->snapshot();
  target->set_name(model.description.name);
  target->set_version(kModelVersion);
  target->set_last_inference(sums.last_inference_ms);
  target->set_inference_count(sums.inference_count);
  target->set_execution_count(sums.execution_count);
  auto* const stats = target->mutable_inference_stats();
  set(stats->mutable_success(), sums.success);
  set(stats->mutable_fail(), sums.fail);
  set(stats->mutable_queue(), sums.queue);
  set_compute(stats, sums.compute);
  for (const auto& [batch_size, times] : sums.by_batch_size) {
    auto* const batch = target->add_batch_stats();
    batch->set_batch_size(static_cast<std::uint64_t>(batch_size));
    set_compute(batch, times);
  }
}

using RawInfer = inference::GRPCInferenceService::WithRawCallbackMethod_ModelInfer<inference::GRPCInferenceService::CallbackService>;

class Service final : public RawInfer {
 public:
  Service(Engine& engine, std::atomic<int>& under_way) : engine_(engine), under_way_(under_way) {}

  ServerUnaryReactor* ServerLive(CallbackServerContext* context, const inference::ServerLiveRequest*,
                                 inference::ServerLiveResponse* reply) override {
    return answer(context, [&] { reply->set_live(true); });
  }

  ServerUnaryReactor* ServerReady(CallbackServerContext* context, const inference::ServerReadyRequest*,
                                  inference::ServerReadyResponse* reply) override {
    return answer(context, [&] { reply->set_ready(engine_.is_ready()); });
  }

  // As Triton: a model that does not exist is not ready, which is no error.
  ServerUnaryReactor* ModelReady(CallbackServerContext* context, const inference::ModelReadyRequest* request,
                                 inference::ModelReadyResponse* reply) override {
    return answer(context, [&] {
      try {
        engine_.find(request->name(), request->version());
        reply->set_ready(engine_.is_ready());
      } catch (const RequestError& error) {
        if (error.code() != Code::not_found) throw;
      }
    });
  }

  ServerUnaryReactor* ServerMetadata(CallbackServerContext* context, const inference::ServerMetadataRequest*,
                                     inference::ServerMetadataResponse* reply) override {
    return answer(context, [&] {
      reply->set_name("trident");
      reply->set_version(TRIDENT_VERSION);
      for (const char* extension : {"binary_tensor_data", "model_configuration", "parameters", "statistics"}) {
        reply->add_extensions(extension);
      }
    });
  }

  ServerUnaryReactor* ModelMetadata(CallbackServerContext* context, const inference::ModelMetadataRequest* request,
                                    inference::ModelMetadataResponse* reply) override {
    return answer(context, [&] { describe(engine_.find(request->name(), request->version()).description, reply); });
  }

  ServerUnaryReactor* ModelConfig(CallbackServerContext* context, const inference::ModelConfigRequest* request,
                                  inference::ModelConfigResponse* reply) override {
    return answer(context, [&] { configure(engine_.find(request->name(), request->version()).description, reply->mutable_config()); });
  }

  // The raw form: bytes that are no message get a status that says so, and the reply carries the tensor's own memory.
  ServerUnaryReactor* ModelInfer(CallbackServerContext* context, const grpc::ByteBuffer* request, grpc::ByteBuffer* reply) override {
    // Deserialising empties the buffer; the library would keep the bytes beside the message until the call ends.
    return InferCall::start(engine_, under_way_, *context, const_cast<grpc::ByteBuffer*>(request), reply);
  }

  ServerUnaryReactor* ModelStatistics(CallbackServerContext* context, const inference::ModelStatisticsRequest* request,
                                      inference::ModelStatisticsResponse* reply) override {
    return answer(context, [&] {
      if (!request->name().empty()) return report(engine_.find(request->name(), request->version()), reply->add_model_stats());
      for (const ServedModel& model : engine_.models()) report(model, reply->add_model_stats());
    });
  }

  ServerUnaryReactor* RepositoryIndex(CallbackServerContext* context, const inference::RepositoryIndexRequest* request,
                                      inference::RepositoryIndexResponse* reply) override {
    return answer(context, [&] {
      const bool ready = engine_.is_ready();
      if (request->ready() && !ready) return;
      for (const ServedModel& model : engine_.models()) {
        auto* const entry = reply->add_models();
        entry->set_name(model.description.name);
        entry->set_version(kModelVersion);
        entry->set_state(ready ? "READY" : "UNAVAILABLE");
        if (!ready) entry->set_reason("the server is stopping");
      }
    });
  }

 private:
  Engine& engine_;
  std::atomic<int>& under_way_;
};

}  // namespace

std::unique_ptr<grpc::Service> make_service(Engine& engine, std::atomic<int>& under_way) {
  return std::make_unique<Service>(engine, under_way);
}

}  // namespace trident
