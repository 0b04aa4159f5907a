#include "rpc/metrics.h"

#include <CivetServer.h>
#include <prometheus/collectable.h>
#include <prometheus/exposer.h>
#include <prometheus/metric_family.h>

#include <string_view>

#include "rpc/engine.h"

namespace trident {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

double microseconds(const DurationSum& sum) { return std::chrono::duration<double, std::micro>(sum.total).count(); }

/// One number of every model.
struct Quantity {
  const char* name;
  const char* help;
  MetricType type;
  double (*value)(const StatisticsSnapshot&);
};

constexpr Quantity kQuantities[] = {
    {"nv_inference_request_success", "Requests answered", MetricType::Counter,
     [](const StatisticsSnapshot& sums) { return static_cast<double>(sums.success.count); }},
    {"nv_inference_count", "Samples computed", MetricType::Counter,
     [](const StatisticsSnapshot& sums) { return static_cast<double>(sums.inference_count); }},
    {"nv_inference_exec_count", "Requests computed", MetricType::Counter,
     [](const StatisticsSnapshot& sums) { return static_cast<double>(sums.execution_count); }},
    {"nv_inference_request_duration_us", "Time of answered requests from arrival to reply", MetricType::Counter,
     [](const StatisticsSnapshot& sums) { return microseconds(sums.success); }},
    {"nv_inference_queue_duration_us", "Time of answered requests in the queue", MetricType::Counter,
     [](const StatisticsSnapshot& sums) { return microseconds(sums.queue); }},
    {"nv_inference_compute_input_duration_us", "Time spent reading and checking requests", MetricType::Counter,
     [](const StatisticsSnapshot& sums) { return microseconds(sums.compute.input); }},
    {"nv_inference_compute_infer_duration_us", "Time spent predicting", MetricType::Counter,
     [](const StatisticsSnapshot& sums) { return microseconds(sums.compute.infer); }},
    {"nv_inference_compute_output_duration_us", "Time spent writing replies", MetricType::Counter,
     [](const StatisticsSnapshot& sums) { return microseconds(sums.compute.output); }},
    {"nv_inference_pending_request_count", "Requests in the queue", MetricType::Gauge,
     [](const StatisticsSnapshot& sums) { return static_cast<double>(sums.pending); }},
};

ClientMetric metric_of(const ServedModel& model, MetricType type, double value) {
  ClientMetric metric;
  metric.label = {{"model", model.description.name}, {"version", kModelVersion}};
  (type == MetricType::Gauge ? metric.gauge.value : metric.counter.value) = value;
  return metric;
}

class EngineMetrics final : public prometheus::Collectable {
 public:
  explicit EngineMetrics(const Engine& engine) : engine_(engine) {}

  std::vector<MetricFamily> Collect() const override {
    std::vector<MetricFamily> families;
    for (const Quantity& quantity : kQuantities) families.push_back({quantity.name, quantity.help, quantity.type, {}});
    MetricFamily failures{"nv_inference_request_failure", "Requests that failed, by reason", MetricType::Counter, {}};
    for (const ServedModel& model : engine_.models()) {
      const StatisticsSnapshot sums = model.statistics->snapshot();
      for (std::size_t i = 0; i < std::size(kQuantities); ++i) {
        families[i].metric.push_back(metric_of(model, kQuantities[i].type, kQuantities[i].value(sums)));
      }
      for (std::size_t reason = 0; reason < kFailureReasons.size(); ++reason) {
        ClientMetric metric = metric_of(model, MetricType::Counter, static_cast<double>(sums.failures[reason]));
        metric.label.push_back({"reason", std::string(kFailureReasons[reason])});
        failures.metric.push_back(std::move(metric));
      }
    }
    families.push_back(std::move(failures));
    return families;
  }

 private:
  const Engine& engine_;
};

/// Answers everything but a scrape, before the library does: its own refusals are formatted by printf on a small stack, of which printf
/// needs more than is left once any library has registered a conversion (as libquadmath does). They would end the process.
int answer_others(mg_connection* connection) {
  const mg_request_info& request = *mg_get_request_info(connection);
  const bool known = request.local_uri == std::string_view("/metrics");
  const bool scrapes = request.request_method == std::string_view("GET") && mg_get_header(connection, "Upgrade") == nullptr;
  if (known && scrapes) return 0;  // the library goes on
  const std::string_view reply = known ? "HTTP/1.1 405 Method Not Allowed\r\nAllow: GET\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                                       : "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
  mg_write(connection, reply.data(), reply.size());
  return known ? 405 : 404;
}

}  // namespace

struct MetricsServer::Implementation {
  std::shared_ptr<EngineMetrics> metrics;
  std::unique_ptr<prometheus::Exposer> exposer;
  std::string address;
};

MetricsServer::MetricsServer(const Engine& engine, const std::string& address) : implementation_(std::make_unique<Implementation>()) {
  implementation_->metrics = std::make_shared<EngineMetrics>(engine);
  CivetCallbacks callbacks;
  callbacks.begin_request = answer_others;
  try {
    implementation_->exposer = std::make_unique<prometheus::Exposer>(address, 1, &callbacks);
  } catch (const std::exception&) {
    throw ConfigError(concat("metrics-address \"", address, "\": cannot listen there; give HOST:PORT of this machine with a free port"));
  }
  implementation_->exposer->RegisterCollectable(implementation_->metrics);
  const int port = implementation_->exposer->GetListeningPorts().front();
  implementation_->address = address.substr(0, address.rfind(':') + 1) + std::to_string(port);
}

MetricsServer::~MetricsServer() = default;

const std::string& MetricsServer::address() const { return implementation_->address; }

}  // namespace trident
