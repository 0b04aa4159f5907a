// `trident serve` as a process of its own: signals, exit codes, messages.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "rpc/client.h"
#include "runtime/error.h"
#include "runtime/tensor/create.h"
#include "tests/rpc/scrape.h"
#include "tests/support/end_with_parent.h"
#include "tests/support/temporary_folder.h"

namespace trident {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

const fs::path kModel = fs::path(TRIDENT_GOLDEN_FOLDER) / "scot/hugging_face/safetensors";

/// `trident serve` with what it writes to standard error.
class ServeProcess {
 public:
  explicit ServeProcess(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {TRIDENT_PROGRAM, "serve", "--threads", "1"});
    std::vector<char*> words;
    for (std::string& argument : arguments) words.push_back(argument.data());
    words.push_back(nullptr);
    int ends[2] = {-1, -1};
    if (::pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("no pipe");
    error_ = ends[0];
    const pid_t test = ::getpid();
    id_ = ::fork();
    if (id_ == 0) {
      testing::end_with(test);
      ::dup2(ends[1], STDERR_FILENO);
      ::execv(words[0], words.data());
      ::_exit(127);
    }
    ::close(ends[1]);
  }
  ~ServeProcess() {
    if (!ended_) {
      ::kill(id_, SIGKILL);
      ::waitpid(id_, nullptr, 0);
    }
    ::close(error_);
  }

  /// Where it listens, once it does; empty if it ends instead.
  std::string address() { return announced("ready at "); }
  std::string metrics_address() { return announced("metrics at http://"); }
  void signal(int number) const { ::kill(id_, number); }
  /// Its end, as waitpid() reports it.
  int wait() {
    while (read_more()) {
    }
    int status = 0;
    ::waitpid(id_, &status, 0);
    ended_ = true;
    return status;
  }
  const std::string& text() const { return text_; }
  void wait_for_text(const std::string& part) {
    while (text_.find(part) == std::string::npos && read_more()) {
    }
  }

 private:
  /// The address after `words`; empty if the process ends without one.
  std::string announced(const std::string& words) {
    while (true) {
      const std::size_t found = text_.find(words), first = found + words.size(), last = text_.find_first_of(" ,/\n", first);
      if (found != std::string::npos && last != std::string::npos) return text_.substr(first, last - first);
      if (!read_more()) return "";
    }
  }
  bool read_more() {
    char buffer[4096];
    const ssize_t got = ::read(error_, buffer, sizeof buffer);
    if (got > 0) text_.append(buffer, static_cast<std::size_t>(got));
    return got > 0;
  }

  pid_t id_ = -1;
  int error_ = -1;
  bool ended_ = false;
  std::string text_;
};

class Serve : public ::testing::Test {
 protected:
  void SetUp() override { fs::copy(kModel, folder / "tiny", fs::copy_options::recursive); }

  std::vector<std::string> arguments(std::vector<std::string> more = {}) {
    more.insert(more.begin(), {"--model-repository", folder.path().string(), "--grpc-address", "127.0.0.1:0"});
    return more;
  }
  static PredictionRequest request(std::int64_t steps = 1) {
    PredictionRequest request;
    request.input = full({1, 4, 32, 32}, 0.25, DType::f32);
    request.time = full({1}, 0.5, DType::f32);
    request.steps = steps;
    return request;
  }

  testing::TemporaryFolder folder;
};

TEST_F(Serve, AnswersAllThatItAcceptedAfterSigterm) {
  ServeProcess process(arguments({"--drain-seconds", "100"}));
  const std::string address = process.address();
  std::atomic<int> answered = 0, refused = 0;
  std::atomic<bool> signalled = false;
  std::vector<std::thread> clients;
  for (int i = 0; i < 3; ++i) {
    clients.emplace_back([&] {
      Client client(address);
      try {
        while (true) {
          client.predict("tiny", request());
          ++answered;
        }
      } catch (const CommunicationError& error) {
        EXPECT_TRUE(signalled) << error.what();
        ++refused;
      }
    });
  }
  while (answered < 6) std::this_thread::sleep_for(1ms);
  signalled = true;
  process.signal(SIGTERM);
  for (std::thread& client : clients) client.join();
  const int status = process.wait();
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status << process.text();
  EXPECT_EQ(refused, 3);
  EXPECT_NE(process.text().find(concat("stopped after answering ", answered.load(), " requests")), std::string::npos)
      << answered << " answers arrived\n"
      << process.text();
}

TEST_F(Serve, EndsAtOnceAtASecondSignal) {
  ServeProcess process(arguments({"--metrics-address", "127.0.0.1:0"}));
  const std::string address = process.address();
  std::vector<std::thread> clients;
  for (int i = 0; i < 2; ++i) {
    clients.emplace_back([&] { EXPECT_THROW(Client(address).predict("tiny", request(10'000)), CommunicationError); });
  }
  // One waits, so the other is being computed, for many seconds.
  while (scrape(process.metrics_address()).find("nv_inference_pending_request_count{model=\"tiny\",version=\"1\"} 1") ==
         std::string::npos) {
    std::this_thread::sleep_for(5ms);
  }
  process.signal(SIGINT);
  process.wait_for_text("a second signal ends at once");
  process.signal(SIGTERM);
  const int status = process.wait();
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM) << status;
  for (std::thread& client : clients) client.join();
}

/// Checks that the process fails at the start with a message that says why.
void expect_failure(ServeProcess& process, const std::string& part) {
  const int status = process.wait();
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 1) << status;
  EXPECT_NE(process.text().find(part), std::string::npos) << process.text();
}

TEST_F(Serve, SaysWhatIsWrongAtTheStart) {
  ServeProcess absent({"--model-repository", (folder / "absent").string()});
  expect_failure(absent, "absent: is no folder");
  ServeProcess no_queue(arguments({"--max-queue", "0"}));
  expect_failure(no_queue, "max-queue");
  ServeProcess no_time(arguments({"--drain-seconds", "-1"}));
  expect_failure(no_time, "drain-seconds");
  ServeProcess first(arguments());
  ServeProcess second({"--model-repository", folder.path().string(), "--grpc-address", first.address()});
  expect_failure(second, concat("grpc-address \"", first.address(), "\": cannot listen there"));
  ServeProcess third(arguments({"--metrics-address", first.address()}));
  expect_failure(third, "metrics-address");
  fs::resize_file(folder / "tiny" / "model.safetensors", 100);
  ServeProcess broken(arguments());
  expect_failure(broken, "model \"tiny\"");
}

}  // namespace
}  // namespace trident
