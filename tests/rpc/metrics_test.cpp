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

TEST(Metrics, AreStillThereAfterAnyOtherRequest) {
  const Engine engine({fake_model("a")}, {});
  const MetricsServer server(engine, "127.0.0.1:0");
  const auto first_line = [&](const std::string& request) {
    const std::string reply = http_reply(server.address(), request);
    return reply.substr(0, reply.find('\r'));
  };
  for (const char* request : {"GET / HTTP/1.0\r\n\r\n", "GET /favicon.ico?a=b HTTP/1.1\r\nHost: x\r\n\r\n",
                              "GET /../../etc/passwd HTTP/1.0\r\n\r\n", "PROPFIND / HTTP/1.1\r\n\r\n"}) {
    EXPECT_EQ(first_line(request), "HTTP/1.1 404 Not Found") << request;
  }
  for (const char* request :
       {"HEAD /metrics HTTP/1.0\r\n\r\n", "POST /metrics HTTP/1.1\r\nContent-Length: 4\r\n\r\nabcd", "DELETE /metrics HTTP/1.1\r\n\r\n",
        "GET /metrics HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n"}) {
    EXPECT_EQ(first_line(request), "HTTP/1.1 405 Method Not Allowed") << request;
  }
  EXPECT_NE(first_line(std::string(100'000, '\xff')), "HTTP/1.1 200 OK");
  EXPECT_NE(scrape(server.address()).find("nv_inference_count"), std::string::npos);
}

TEST(Metrics, RefuseAnAddressThatIsTaken) {
  const Engine engine({}, {});
  const MetricsServer server(engine, "127.0.0.1:0");
  EXPECT_THROW(MetricsServer(engine, server.address()), ConfigError);
}

}  // namespace
}  // namespace trident
