#include "tests/launch/program.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <fstream>
#include <sstream>
#include <thread>

#include "launch/trainer/metrics.h"
#include "runtime/error.h"
#include "tests/support/end_with_parent.h"

namespace trident::testing {
namespace {

int code_of(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status); }

}  // namespace

Finished run_shell(const std::string& command) {
  int ends[2] = {-1, -1};
  if (::pipe2(ends, O_CLOEXEC) != 0) throw Error("run_shell: no pipe");
  const pid_t test = ::getpid(), shell = ::fork();
  if (shell == 0) {
    end_with(test);
    ::setpgid(0, 0);
    ::dup2(ends[1], STDOUT_FILENO);
    ::dup2(ends[1], STDERR_FILENO);
    // What the shell started does not end with it: it hands SIGTERM on to its group, and for that waits beside the command.
    const std::string text = concat("trap \"trap '' TERM; kill 0\" TERM; ( ", command, " ) & wait $!");
    ::execl("/bin/sh", "sh", "-c", text.c_str(), nullptr);
    ::_exit(127);
  }
  ::close(ends[1]);
  Finished finished;
  std::array<char, 4096> buffer;
  for (ssize_t count; (count = ::read(ends[0], buffer.data(), buffer.size())) > 0;) {
    finished.output.append(buffer.data(), static_cast<std::size_t>(count));
  }
  ::close(ends[0]);
  int status = 0;
  ::waitpid(shell, &status, 0);
  finished.status = code_of(status);
  return finished;
}

std::string program() { return "'" TRIDENT_PROGRAM "'"; }
std::string mpirun(int ranks) { return concat("'" TRIDENT_MPIRUN "' --oversubscribe -n ", ranks); }

Background::Background(const std::string& command, const std::string& output) {
  const pid_t test = ::getpid();
  process_ = ::fork();
  if (process_ != 0) return;
  end_with(test);
  const std::string replaced = concat("exec ", command, " >'", output, "' 2>&1");
  ::execl("/bin/sh", "sh", "-c", replaced.c_str(), nullptr);
  ::_exit(127);
}

void Background::signal(int number) const { ::kill(process_, number); }

int Background::wait(std::chrono::seconds limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  int status = 0;
  while (::waitpid(process_, &status, WNOHANG) == 0) {
    if (std::chrono::steady_clock::now() > end) signal(SIGKILL);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return code_of(status);
}

RunFolderFixture::RunFolderFixture() {
  std::string pattern = (std::filesystem::temp_directory_path() / "trident_run_XXXXXX").string();
  folder_ = ::mkdtemp(pattern.data());
  std::ofstream(folder_ / "run.yaml")
      << "output: run\n"
         "model: {type: scot, image_size: 32, embed_dim: 8, depths: [1, 1], num_heads: [1, 2], skip_connections: [1, 0], window_size: 4,\n"
         "        use_conditioning: true, drop_path_rate: 0.2}\n"
         "data:\n"
         "  train:      [{problem: NS-Sines, path: '" TRIDENT_TEST_DATA
         "', trajectories: [0, 4]}]\n"
         "  validation: [{problem: NS-Sines, path: '" TRIDENT_TEST_DATA
         "', trajectories: [4, 6]}]\n"
         "  max_num_time_steps: 3\n"
         "  time_step_size: 6\n"
         "training: {global_batch_size: 6, steps: 4, precision: f64, warmup_steps: 1}\n"
         "checkpoint: {every: 4}\n";
}

RunFolderFixture::~RunFolderFixture() { std::filesystem::remove_all(folder_); }

std::string RunFolderFixture::train(const std::string& name, const std::string& arguments, const std::string& launcher) const {
  return concat(launcher, " ", program(), " train '", path("run.yaml").string(), "' 'output=", path(name).string(), "' ", arguments);
}

std::vector<ConfigValue> RunFolderFixture::metrics(const std::string& name) const { return read_metrics(path(name) / "metrics.jsonl"); }

std::vector<double> RunFolderFixture::column(const std::string& name, const std::string& key) const {
  std::vector<double> values;
  for (const ConfigValue& row : metrics(name)) {
    if (row.find("loss") != nullptr) values.push_back(row.find(key)->as_number());
  }
  return values;
}

std::string RunFolderFixture::bytes(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace trident::testing
