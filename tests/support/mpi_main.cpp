/// main() of test programs that run on several ranks. Rank 0 prints the usual report, the others their failures, each with its rank; all
/// ranks exit with an error if one has failed. A rank that leaves a test early (a fatal failure, an exception) ends the job: the others
/// would wait for it.
#include <gtest/gtest.h>

#include <iostream>

#include "parallel/messages.h"
#include "parallel/session.h"
#include "runtime/error.h"
#include "tests/support/test_world.h"

namespace trident::testing {
namespace {

const Session* the_session = nullptr;

class RankPrinter final : public ::testing::EmptyTestEventListener {
 public:
  explicit RankPrinter(const Session& session) : session_(session) {}

  void OnTestStart(const ::testing::TestInfo& test) override { test_ = concat(test.test_suite_name(), ".", test.name()); }

  void OnTestPartResult(const ::testing::TestPartResult& result) override {
    if (!result.failed()) return;
    const std::string text =
        concat(test_, ": ", result.file_name() == nullptr ? "" : result.file_name(), ":", result.line_number(), "\n", result.message());
    if (result.fatally_failed() && session_.world()->size() > 1) session_.fail(Error(text));
    if (session_.world()->rank() != 0) std::cerr << session_.prefix() << text << std::endl;
  }

 private:
  const Session& session_;
  std::string test_;  // kept here: GoogleTest holds its lock while it reports a result
};

}  // namespace

const Session& session() { return *the_session; }

int run(const Session& session) {
  the_session = &session;
  auto& listeners = ::testing::UnitTest::GetInstance()->listeners();
  if (world()->rank() != 0) delete listeners.Release(listeners.default_result_printer());
  listeners.Append(new RankPrinter(session));
  const bool failed = RUN_ALL_TESTS() != 0;
  return any_of(*world(), failed) ? 1 : 0;
}

}  // namespace trident::testing

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  return trident::run_job([](trident::Session& session) {
    if (session.world()->size() > 1) GTEST_FLAG_SET(catch_exceptions, false);  // an exception ends the job
    return trident::testing::run(session);
  });
}
