#include "rpc/metrics.h"

#include <gtest/gtest.h>

#include <string>

#include "rpc/engine.h"
#include "tests/rpc/fake_model.h"
#include "tests/rpc/scrape.h"

namespace trident {
namespace {

TEST(Metrics, AreReadFromTheStatistics) {
  using namespace std::chrono_literals;
  const Engine engine({fake_model("a"), fake_model("b")}, {});
  const MetricsServer server(engine, "127.0.0.1:0");
  Statistics& statistics = *engine.find("b", "").statistics;
  statistics.succeeded(3, {.total = 10us, .queue = 1us, .input = 2us, .infer = 3us, .output = 4us});
  statistics.failed(Code::resource_exhausted, 1us);
  statistics.accepted();
  const std::string text = scrape(server.address());
  const std::pair<const char*, const char*> lines[] = {
      {"nv_inference_request_success", "1"},
      {"nv_inference_count", "3"},
      {"nv_inference_exec_count", "1"},
      {"nv_inference_request_duration_us", "10"},
      {"nv_inference_queue_duration_us", "1"},
      {"nv_inference_compute_input_duration_us", "2"},
      {"nv_inference_compute_infer_duration_us", "3"},
      {"nv_inference_compute_output_duration_us", "4"},
      {"nv_inference_pending_request_count", "1"},
  };
  for (const auto& [name, value] : lines) {
    EXPECT_NE(text.find(concat("\n", name, "{model=\"b\",version=\"1\"} ", value)), std::string::npos) << name << "\n" << text;
    EXPECT_NE(text.find(concat("\n", name, "{model=\"a\",version=\"1\"} 0")), std::string::npos) << name;
  }
  EXPECT_NE(text.find("nv_inference_request_failure{model=\"b\",version=\"1\",reason=\"REJECTED\"} 1"), std::string::npos) << text;
  EXPECT_NE(text.find("nv_inference_request_failure{model=\"b\",version=\"1\",reason=\"CANCELED\"} 0"), std::string::npos);
}

TEST(Metrics, RefuseAnAddressThatIsTaken) {
  const Engine engine({}, {});
  const MetricsServer server(engine, "127.0.0.1:0");
  EXPECT_THROW(MetricsServer(engine, server.address()), ConfigError);
}

}  // namespace
}  // namespace trident
